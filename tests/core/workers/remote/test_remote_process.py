"""A worker on another host, whose node is a child process: it serves as a local one does, and its losses are told."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import cast

import psutil
import pytest

from torchserve.core.errors import WorkerDied
from torchserve.core.payload import Reply
from torchserve.core.process_stacks import StacksUnknown
from torchserve.core.tracing.request_trace import Told
from torchserve.core.wire.messages import Load
from torchserve.core.workers.load_failed import LoadFailed
from torchserve.core.workers.remote.minder_link import MinderLink
from torchserve.core.workers.remote.remote_process import RemoteProcess
from torchserve.core.workers.worker import Worker

from ...doubles import Sink, until
from ...tracing.doubles import Desk, tree
from .site import Site


def alive(pid: int) -> bool:
    """Return whether the process runs, and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def pid_of(worker: Worker) -> int:
    return worker.process.pids[0]


async def test_a_remote_worker_serves_prints_is_traced_and_reports_its_memory(site: Site) -> None:
    worker = await site.worker()
    desk = Desk(clock=time.monotonic)
    trace = desk.tracer.begin(None)
    assert trace is not None
    recorded = site.submit("hello", trace)
    await recorded.told.wait()
    trace.end(lambda: Told("request", {}))
    assert [line.rpartition(" ")[0] for line in tree(desk.spans())] == [
        "request", "  queue", "  batch", "    worker", "      handler",
    ]  # fmt: skip
    reply = recorded.outcome
    assert isinstance(reply, Reply)
    assert reply.body == f"hello by {pid_of(worker)} None this".encode()
    large = os.urandom(3 << 20).hex()
    assert bytes((await site.answer(large)).body).startswith(large.encode())
    await until(lambda: "ran hello" in site.observer.lines and worker.process.memory > 0)
    assert worker.process.results is None
    assert worker.process.lent is None
    await worker.stop(1.0)
    assert await worker.ended == "exited with code 0"
    await until(lambda: not alive(pid_of(worker)))


async def test_a_remote_worker_that_hangs_shows_its_stacks(site: Site, tmp_path: Path) -> None:
    worker = await site.worker()
    await held(site, tmp_path)
    stacks = await asyncio.gather(worker.process.stacks(), worker.process.stacks())
    assert stacks[0] == stacks[1], "one look for all who ask at a time"
    assert 'handler.py", line 1' in stacks[0]
    os.kill(pid_of(worker), signal.SIGKILL)
    await worker.ended
    with pytest.raises(StacksUnknown, match="has ended"):
        await worker.process.stacks()


async def test_a_killed_process_fails_its_batch_by_name_of_node_and_worker_and_the_queue_goes_on(
    site: Site, tmp_path: Path
) -> None:
    worker = await site.worker()
    running, queued = await held(site, tmp_path)
    os.kill(pid_of(worker), signal.SIGKILL)
    await worker.ended
    assert isinstance(running.outcome, WorkerDied)
    assert "W-9000-m_1.0 on node here of model m version 1.0 was killed by SIGKILL" in str(running.outcome)
    assert not queued.heard
    await site.worker("W-9001-m_1.0")
    await queued.told.wait()
    assert bytes(queued.outcome.body).startswith(b"queued by")


async def test_a_killed_minder_takes_its_worker_along(site: Site, tmp_path: Path) -> None:
    worker = await site.worker()
    running, _ = await held(site, tmp_path)
    (minder,) = site.placer.orders.values()
    minder.kill()
    await worker.ended
    assert "was lost with its node: its connection ended" in str(running.outcome)
    await until(lambda: not alive(pid_of(worker)))


async def test_a_node_that_says_nothing_any_more_is_lost(site: Site, tmp_path: Path) -> None:
    worker = await site.worker()
    running, _ = await held(site, tmp_path)
    (minder,) = site.placer.orders.values()
    minder.send_signal(signal.SIGSTOP)  # its connections stay, as those of a host that was cut off
    hurry(worker)
    assert "no sign of life for" in await worker.ended
    assert "on node here" in str(running.outcome)
    minder.send_signal(signal.SIGCONT)
    await until(lambda: minder.poll() is not None and not alive(pid_of(worker)))


async def test_what_an_idempotent_model_ran_is_run_once_more(site: Site, tmp_path: Path) -> None:
    worker = await site.worker(idempotent=True)
    running, queued = await held(site, tmp_path)
    os.kill(pid_of(worker), signal.SIGKILL)
    await worker.ended
    assert not running.heard
    second = await site.worker("W-9001-m_1.0", idempotent=True)
    await until((tmp_path / "free.reached").exists)
    os.kill(pid_of(second), signal.SIGKILL)
    await second.ended
    assert isinstance(running.outcome, WorkerDied), "twice is enough"
    await site.worker("W-9002-m_1.0", idempotent=True)
    await queued.told.wait()
    assert bytes(queued.outcome.body).startswith(b"queued by")


async def test_a_worker_whose_front_is_gone_lives_for_a_grace_at_most(site: Site) -> None:
    worker = await site.worker()
    (minder,) = site.placer.orders.values()
    _link(worker)._transport.abort()
    await until(lambda: minder.poll() is not None and not alive(pid_of(worker)))


async def test_a_worker_whose_front_says_nothing_any_more_lives_for_a_grace_at_most(tmp_path: Path) -> None:
    site = Site(tmp_path, beat=1.0)
    worker = await site.worker()
    (minder,) = site.placer.orders.values()
    _link(worker)._timer.cancel()  # the connection stays
    await until(lambda: minder.poll() is not None and not alive(pid_of(worker)))
    await site.close()


async def test_a_node_that_is_stopped_lets_the_batch_finish(site: Site, tmp_path: Path) -> None:
    worker = await site.worker()
    running, queued = await held(site, tmp_path)
    (minder,) = site.placer.orders.values()
    minder.send_signal(signal.SIGTERM)
    await until(lambda: worker._leaving)
    (tmp_path / "free").touch()
    await worker.ended
    assert bytes(running.outcome.body).startswith(b"hold")
    assert worker.cause == "gpu_lost"
    assert not queued.heard


async def test_a_worker_that_waits_for_a_place_says_why_and_can_be_stopped(site: Site) -> None:
    site.placer.room.clear()
    process = site.process()
    worker = site.around(process)
    loading = asyncio.ensure_future(worker.load(60.0, 60.0))
    await until(lambda: process.waiting == "no node has room")
    process.kill()
    with pytest.raises(LoadFailed, match=r"W-9000-m_1.0 was stopped before it was started"):
        await loading
    assert not site.placer.orders
    assert len(site.workers.tickets) == 0


async def test_the_files_of_a_model_come_to_a_node_once(site: Site) -> None:
    await asyncio.gather(*(site.worker(f"W-{number}-m_1.0") for number in range(2)))
    files = await site.workers.files_of(site.model_dir)
    (folder,) = (each for each in (site.cache / "torchserve/remote-models").iterdir() if each.is_dir())
    assert folder.name == files.digest
    assert sorted(path.name for path in folder.iterdir() if path.is_file()) == ["handler.py"]
    load = Load("m", "1.0", "/front", "handler.py", 2)
    assert {worker.process.localized(load).model_dir for worker in site.made} == {str(folder)}


def _link(worker: Worker) -> MinderLink:
    link = cast("RemoteProcess", worker.process)._link
    assert link is not None
    return link


def hurry(worker: Worker) -> None:
    """Have the front miss beats soon."""
    _link(worker)._beat = 0.05
    _link(worker)._tick()


async def held(site: Site, folder: Path) -> tuple[Sink, Sink]:
    """Have the only worker run a request until the file `free` is there. Return it, and another that is behind it."""
    running = site.submit(f"hold {folder / 'free'}")
    await until((folder / "free.reached").exists)
    (folder / "free.reached").unlink()
    return running, site.submit("queued")
