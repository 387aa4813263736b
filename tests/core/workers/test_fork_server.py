"""Workers that are forked from a fork server: they are what spawned ones are, they need it no more, and where it fails
in any way a worker can be spawned. Processes, signals and limits are real.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from torchserve.core.wire.frames import FrameReader, encode
from torchserve.core.wire.messages import Answer, Load, Loaded, PartHead, Predict, Row, ToFront
from torchserve.core.workers import fork_server
from torchserve.core.workers.fork_server import ForkServer
from torchserve.core.workers.forked_worker import NotForked
from torchserve.core.workers.preloads import Preloads
from torchserve.core.workers.shared_memory import Requests, shared
from torchserve.core.workers.spawn_local import LocalProcess, spawn
from torchserve.core.workers.worker_process import describe_exit

from ..doubles import until
from .lives import Remains

NOTHING = Preloads((), ())
NUMPY = Preloads(("numpy",), ())

# A handler that tells what its process is, and does what a request says.
HANDLER = """
import faulthandler, gc, json, locale, os, resource, signal, subprocess, sys, threading

def facts():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    limits = {n: resource.getrlimit(getattr(resource, n)) for n in dir(resource) if n.startswith("RLIMIT_")}
    held = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            held[number] = os.readlink(f"/proc/self/fd/{number}").partition(":")[0], os.get_inheritable(int(number))
        except OSError:
            pass
    return {
        "environment": dict(os.environ), "arguments": sys.argv, "path": sys.path, "folder": os.getcwd(),
        "session": os.getsid(0) == os.getpid(), "group": os.getpgrp() == os.getpid(), "parent": os.getppid(),
        "limits": limits, "mask": status["Umask"], "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "cores": sorted(os.sched_getaffinity(0)), "blocked": status["SigBlk"], "ignored": status["SigIgn"],
        "caught": status["SigCgt"], "threads": threading.active_count(), "tasks": len(os.listdir("/proc/self/task")),
        "held": sorted(held.values()), "input": os.readlink("/proc/self/fd/0"),
        "flags": repr(sys.flags), "main": sys.modules["__main__"].__spec__.name, "gc": gc.isenabled(),
        "streams": [(s.encoding, s.errors, s.line_buffering) for s in (sys.stdout, sys.stderr)],
        "crashes": faulthandler.is_enabled(), "language": locale.setlocale(locale.LC_ALL),
        "program": sys.executable, "name": open("/proc/self/comm").read(),
        "group_of_killer": status["NoNewPrivs"], "modules": sorted(m for m in sys.modules if m.startswith("torch")),
    }

def handle(data, context):
    if data is None:
        return None
    command = bytes(data[0]["body"]).decode()
    if command == "facts":
        return [json.dumps(facts())]
    if command == "draw":
        import random
        import numpy.random
        import torch
        return [json.dumps([random.random(), numpy.random.random(), torch.initial_seed()])]
    if command == "child":
        return [str(subprocess.Popen(["sleep", "1000"]).pid)]
    if command == "fork":
        pid = os.fork()
        if pid == 0:
            os._exit(5)
        return [str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))]
    if command == "print":
        print("out", flush=True)
        print("err", file=sys.stderr, flush=True)
    if command == "abort":
        os.abort()
    if command == "compute":
        import torch
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 62 * 62, 10))
        loss = model(torch.ones(16, 3, 64, 64)).sum()
        loss.backward()
        threads = []
        one = threading.Thread(target=lambda: threads.append(torch.get_num_threads()))
        one.start()
        one.join()
        return [json.dumps([torch.get_num_threads(), threads[0], torch.seed() != 0, round(float(loss), 3)])]
    return [b"ok"]
"""


class Forks:
    """A fork server and the workers that it has forked, which a test asks by their sockets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = ForkServer(sys.executable)
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.workers: list[Asked] = []
        self._requests = shared(Requests)

    async def fork(self, needs: Preloads = NOTHING, **variables: str) -> Asked:
        printed: list[tuple[str, str]] = []
        process = await self.server.fork(
            "W-1-m", {**self.environment, **variables}, lambda *line: printed.append(line), needs, self._requests
        )
        return await self._load(process, printed)

    async def spawn(self) -> Asked:
        printed: list[tuple[str, str]] = []
        process = spawn("W-1-m", self.environment, lambda *line: printed.append(line), requests=self._requests)
        return await self._load(process, printed)

    async def _load(self, process: LocalProcess, printed: list[tuple[str, str]]) -> Asked:
        worker = Asked(process, printed)
        self.workers.append(worker)
        await worker.send(encode(Load("m", "1.0", str(self.folder), "handler.py", 1)))
        assert await worker.receive() == (Loaded(200, "Model m loaded."), ())
        return worker

    async def close(self) -> None:
        await self.server.close()
        for worker in self.workers:
            worker.process.kill()
            await worker.process.exited
            worker.process.abandon()
            if worker.process.results is not None:
                worker.process.results.close()
        if self._requests is not None:
            self._requests.close()


class Asked:
    """A worker's process, and the other end of its connection."""

    def __init__(self, process: LocalProcess, printed: list[tuple[str, str]]) -> None:
        self.process, self.printed = process, printed
        self._reader: FrameReader[ToFront] = FrameReader(ToFront, 1 << 20)

    async def send(self, buffers: list[Any]) -> None:
        for buffer in buffers:
            await asyncio.get_running_loop().sock_sendall(self.process.socket, buffer)

    async def receive(self) -> tuple[Any, tuple[Any, ...]]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(60):
            while (frame := self._reader.next_frame()) is None:
                count = await loop.sock_recv_into(self.process.socket, self._reader.get_buffer())
                assert count, "the worker has closed the connection"
                self._reader.buffer_updated(count)
        return frame.message, tuple(frame.bodies)

    async def order(self, command: str) -> None:
        await self.send(encode(Predict(1, (Row("r", (PartHead("body", ""),), {}),)), [command.encode()]))

    async def ask(self, command: str) -> str:
        await self.order(command)
        answer, bodies = await self.receive()
        assert isinstance(answer, Answer)
        return bytes(bodies[0]).decode() if bodies else answer.message

    async def end(self) -> str:
        async with asyncio.timeout(60):
            return describe_exit(await asyncio.shield(self.process.exited))


@pytest.fixture
async def forks(tmp_path: Path) -> AsyncIterator[Forks]:
    """A fork server and its workers, of which nothing is left after a test."""
    (tmp_path / "handler.py").write_text(HANDLER)
    await asyncio.to_thread(int)
    remains = Remains(tmp_path)
    made = Forks(tmp_path)
    yield made
    await made.close()
    await remains.none()


async def test_a_forked_worker_is_what_a_spawned_one_is(forks: Forks) -> None:
    forked, spawned = await forks.fork(), await forks.spawn()
    told, expected = json.loads(await forked.ask("facts")), json.loads(await spawned.ask("facts"))
    for facts in (told, expected):  # only the numbers of descriptors differ, by the order in which they were made
        facts["arguments"] = [word for word in facts["arguments"] if not word.isdigit()]
    differing = {key for key in expected if told[key] != expected[key]}
    assert differing <= {"held"}, {key: (told[key], expected[key]) for key in differing}
    assert [kind for kind, _ in told["held"]] == [kind for kind, _ in expected["held"]]
    handed_on = [sum(inheritable for _, inheritable in facts["held"]) for facts in (told, expected)]
    assert handed_on[0] == 3 <= handed_on[1], "programs that the handler starts get its streams and no more"
    assert told["parent"] == os.getpid()
    titles = [psutil.Process(each.process.pid).cmdline() for each in (forked, spawned)]
    first, second = ([word for word in title if not word.isdigit()] for title in titles)
    assert first == second
    assert first[:5] == [sys.executable, "-P", "-m", "torchserve.core.backend", "--name"]
    assert await forked.ask("fork") == "5", "it can fork in its turn"


async def test_how_a_forked_worker_ends_is_told(forks: Forks) -> None:
    for command, end in (
        ("stop", "exited with code 0"),
        ("abort", "was killed by SIGABRT"),
        ("kill", "was killed by SIGKILL"),
    ):
        worker = await forks.fork()
        assert await worker.ask("print") == "ok"
        await until(lambda worker=worker: {("stdout", "out"), ("stderr", "err")} <= set(worker.printed))
        child = psutil.Process(int(await worker.ask("child")))
        if command == "abort":
            await worker.order("abort")
        elif command == "stop":
            worker.process.socket.shutdown(socket.SHUT_WR)
        else:
            worker.process.kill()
        assert await worker.end() == end
        await until(lambda child=child: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


async def test_workers_live_on_when_the_fork_server_is_killed_and_the_next_one_starts_another(forks: Forks) -> None:
    worker = await forks.fork()
    first = forks.server.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: forks.server.pid is None)
    assert await worker.ask("") == "ok"
    other = await forks.fork()
    assert forks.server.pid not in {None, first}
    assert await other.ask("") == "ok"
    os.kill(worker.process.pid, signal.SIGKILL)
    assert await worker.end() == "was killed by SIGKILL"
    assert not psutil.pid_exists(worker.process.pid), "it has been waited for"


async def test_a_fork_server_that_hangs_is_given_up_and_after_three_there_is_none(
    forks: Forks, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fork_server, "FORKING", 0.05)
    for _ in range(fork_server.FAILURES):
        start = forks.server._started(forks.environment)
        os.kill(start.process.pid, signal.SIGSTOP)
        with pytest.raises(NotForked, match="the fork server does not answer"):
            await forks.fork()
        await until(lambda: forks.server.pid is None)
    with pytest.raises(NotForked, match="3 fork servers in a row have failed"):
        await forks.fork()
    assert "it has not answered within 0.05 s" in caplog.text


async def test_a_start_that_is_cancelled_leaves_no_process(forks: Forks) -> None:
    await forks.fork()
    pid = forks.server.pid
    assert pid is not None
    before = {child.pid for child in psutil.Process().children()}
    os.kill(pid, signal.SIGSTOP)
    forking = asyncio.create_task(forks.fork())
    await asyncio.sleep(0)
    forking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await forking
    os.kill(pid, signal.SIGCONT)
    async with forks.server._turn:  # the order is carried out
        pass
    await until(lambda: {child.pid for child in psutil.Process().children()} <= before)


async def test_a_worker_whose_environment_or_limits_differ_is_not_forked(forks: Forks) -> None:
    worker = await forks.fork(CUDA_VISIBLE_DEVICES="GPU-1", OMP_NUM_THREADS="2", TS_WORKER_CORES="2")
    told = json.loads(await worker.ask("facts"))["environment"]
    assert (told["CUDA_VISIBLE_DEVICES"], told["OMP_NUM_THREADS"], told["TS_WORKER_CORES"]) == ("GPU-1", "2", "2")
    assert "CUDA_VISIBLE_DEVICES" not in json.loads(await (await forks.fork()).ask("facts"))["environment"]
    with pytest.raises(NotForked, match="its environment differs in LD_PRELOAD, PYTHONPATH"):
        await forks.fork(LD_PRELOAD="x.so", PYTHONPATH="/ours")
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0 if soft else hard and 1, hard))
    try:
        with pytest.raises(NotForked, match="limits"):
            await forks.fork()
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))
    assert await (await forks.fork()).ask("") == "ok"


async def test_only_libraries_are_imported_before_a_worker_is_there(forks: Forks, tmp_path: Path) -> None:
    with pytest.raises(NotForked, match="handler is not a module that is imported before a worker is there"):
        await forks.fork(Preloads(("handler",), ()))
    await forks.fork(NUMPY)
    with pytest.raises(NotForked, match="the model's folder has modules named numpy, which others have as well"):
        await forks.fork(Preloads((), ("handler", "json", "numpy")))
    assert await (await forks.fork(Preloads((), ("handler", "json")))).ask("") == "ok", "all workers have json"


async def test_a_library_that_can_not_be_imported_fails_one_start(forks: Forks, tmp_path: Path) -> None:
    broken = tmp_path / "path" / "torchvision"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise SystemError('no such symbol')")
    forks.environment["PYTHONPATH"] = str(broken.parent)
    with pytest.raises(NotForked, match="can't be imported: SystemError: no such symbol"):
        await forks.fork(Preloads(("torchvision",), ()))
    assert await (await forks.fork()).ask("") == "ok"


async def test_a_process_with_threads_is_not_forked_and_never_will_be(
    forks: Forks, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(
        "import threading, time\nthreading.Thread(target=lambda: time.sleep(1000), daemon=True).start()\n"
    )
    forks.environment["PYTHONPATH"] = str(tmp_path / "path")
    for _ in range(2):
        with pytest.raises(NotForked, match="the fork server has 2 threads"):
            await forks.fork()
    assert caplog.text.count("No worker is forked") == 1
    await until(lambda: forks.server.pid is None)


async def test_torch_computes_with_the_threads_that_a_worker_was_given(forks: Forks) -> None:
    needs = Preloads(("torch",), ())
    first = await forks.fork(needs)
    second = await forks.fork(needs, OMP_NUM_THREADS="2")
    assert json.loads(await second.ask("compute"))[:3] == [2, 2, True]
    assert json.loads(await first.ask("compute"))[:2] == [1, 1]
    assert forks.server.pid is not None
    assert len(os.listdir(f"/proc/{forks.server.pid}/task")) == 1, "no threads, so that it can be forked"
    drawn = [json.loads(await each.ask("draw")) for each in (await forks.fork(needs), await forks.fork(needs))]
    assert all(one != other for one, other in zip(*drawn, strict=True)), "each worker draws its own numbers"
