"""Starting a backend's process: what it prints, how its end is noticed, and that none is left where one can't be had."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from torchserve.core.workers import spawn_local
from torchserve.core.workers.spawn_local import LINE_LIMIT, LocalProcess, spawn
from torchserve.core.workers.threads import Threads
from torchserve.core.workers.worker_environment import visible, worker_environment
from torchserve.core.workers.worker_process import describe_exit

from ..doubles import until
from .lives import Remains, children


def started(code: str, kind: Callable[..., LocalProcess] = LocalProcess) -> tuple[LocalProcess, list[tuple[str, str]]]:
    """A process that runs `code`, and what it prints."""
    ours, theirs = socket.socketpair()
    theirs.close()
    popen = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    process = kind(popen, ours)
    printed: list[tuple[str, str]] = []
    process.read_output(lambda stream, line: printed.append((stream, line)))
    process.exited.add_done_callback(lambda _: ours.close())
    return process, printed


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("pass", "exited with code 0"),
        ("raise SystemExit(7)", "exited with code 7"),
        ("import os; os.kill(os.getpid(), 11)", "was killed by SIGSEGV"),
        ("import os; os.abort()", "was killed by SIGABRT"),
    ],
)
async def test_how_a_process_ends_is_told(code: str, end: str) -> None:
    process, _ = started(code)
    assert describe_exit(await asyncio.wait_for(asyncio.shield(process.exited), 60)) == end


def test_a_signal_without_a_name_has_its_number() -> None:
    assert describe_exit(-99) == "was killed by signal 99"


async def test_lines_are_cut_at_their_ends_and_at_the_limit() -> None:
    process, printed = started(
        f"import sys; sys.stdout.write('a\\r\\nb\\n\\n' + 'x' * {LINE_LIMIT + 3} + '\\nrest'); sys.stderr.write('e\\n')"
    )
    await process.exited
    await until(lambda: ("stdout", "rest") in printed and ("stderr", "e") in printed)
    out = [line for stream, line in printed if stream == "stdout"]
    assert out == ["a", "b", "", "x" * LINE_LIMIT, "xxx", "rest"]


async def test_what_a_process_has_started_ends_with_it() -> None:
    process, printed = started(
        "import subprocess, sys; print(subprocess.Popen(['sleep', '1000']).pid, flush=True); sys.stdin.read()"
    )
    await until(lambda: printed)
    child = psutil.Process(int(printed[0][1]))
    process.kill()
    process.kill()
    await process.exited
    await until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


class Unkillable(LocalProcess):
    """One that is deaf to SIGKILL, as a process that hangs in a driver is."""

    deaf = True

    def _kill_groups(self) -> None:
        if not self.deaf:
            super()._kill_groups()


async def test_nobody_waits_for_ever_for_a_process_that_does_not_die(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spawn_local, "KILL_WAIT", 0.02)
    process, _ = started("import signal; signal.pause()", Unkillable)
    assert isinstance(process, Unkillable)
    process.kill()
    assert await asyncio.wait_for(asyncio.shield(process.exited), 60) == -signal.SIGKILL
    assert f"The process {process.pid} was killed 0.02 s ago and has not ended" in caplog.text
    assert process.pid in children()
    os.kill(process.pid, signal.SIGKILL)  # it ends after all, and is waited for
    await until(lambda: process.pid not in children())


async def test_without_descriptors_there_is_no_process_and_nothing_stays_open(tmp_path: Path) -> None:
    """Each descriptor that a start needs is refused once."""
    await asyncio.to_thread(int)
    remains = Remains(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    highest = max(map(int, os.listdir("/proc/self/fd")))
    while taken[-1] < highest:  # then no number below is free
        taken.append(os.open(os.devnull, os.O_RDONLY))
    refused, process = 0, None
    try:
        while process is None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (taken[-1] + 1 + refused, hard))
            try:
                process = spawn("W-1-m", dict(os.environ), lambda stream, line: None, "/bin/cat")
            except OSError:
                refused += 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for number in taken:
            os.close(number)
    assert refused > 4
    assert children() <= {*remains.children, process.pid}
    process.kill()
    await process.exited
    process.socket.close()
    await remains.none()


@pytest.mark.parametrize(
    ("hidden", "left"),
    [(None, {"A", "AB", "B"}), ("A", {"AB", "B"}), ("A.*", {"B"}), ("A|B", {"AB"}), (".*", set())],
)
def test_names_that_are_hidden_are_hidden_in_full(hidden: str | None, left: set[str]) -> None:
    assert set(visible({"A": "1", "AB": "2", "B": "3"}, hidden)) == left


def test_a_workers_environment() -> None:
    made = worker_environment(
        {"A": "1", "SECRET": "2"}, hidden="SECRET", gpus=["GPU-1", "GPU-2"], threads=Threads(3, 4)
    )
    assert (made["A"], made["CUDA_VISIBLE_DEVICES"], made["OMP_NUM_THREADS"]) == ("1", "GPU-1,GPU-2", "3")
    assert "SECRET" not in made


@pytest.mark.parametrize(
    ("gpus", "hidden", "said", "unsaid"),
    [
        ([], None, {"SECRET": "x", "PATH": "/bin"}, {"CUDA_VISIBLE_DEVICES"}),
        (["GPU-a"], None, {"CUDA_VISIBLE_DEVICES": "GPU-a"}, set[str]()),
        (["GPU-b", "GPU-a"], None, {"CUDA_VISIBLE_DEVICES": "GPU-b,GPU-a"}, set[str]()),  # in the ranks' order
        ([], "SEC.*", {"PATH": "/bin"}, {"SECRET"}),
    ],
)
def test_the_environment_is_the_server_s_with_the_worker_s_gpus(
    gpus: list[str], hidden: str | None, said: dict[str, str], unsaid: set[str]
) -> None:
    base = {"SECRET": "x", "PATH": "/bin"}
    made = worker_environment(base, hidden=hidden, gpus=gpus, threads=Threads(3, 4))
    assert made.items() >= (said | {"OMP_NUM_THREADS": "3"}).items()
    assert not unsaid & made.keys()
    assert base == {"SECRET": "x", "PATH": "/bin"}
