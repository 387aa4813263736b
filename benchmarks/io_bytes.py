"""Counts the bytes that a request moves between the server's processes and the kernel, by strace.

Neither copies within a process nor shared memory and io_uring are seen.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .check import WrongAnswerError, post
from .process import ServerProcess
from .workload import Workload

REQUESTS = 20
_CALLS = (
    "read,readv,pread64,preadv,preadv2,recvfrom,recvmsg,write,writev,pwrite64,pwritev,pwritev2,sendto,sendmsg,"
    "sendfile,splice,process_vm_readv,process_vm_writev,copy_file_range"
)
_RETURNED = re.compile(r" = (\d+)(?: \([^)]*\))?$", re.MULTILINE)


class NotTracedError(Exception):
    """An error for strace that is missing or not permitted. The message says which."""


@dataclass(frozen=True, slots=True)
class IoBytes:
    """The bytes read and written by all processes of a server per request, whose body has `body` bytes."""

    workload: str
    server: str
    body: int
    moved: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def count_io_bytes(server: ServerProcess, workload: Workload, folder: Path) -> IoBytes:
    """Send requests one after the other and count. Logs and idle traffic between processes are counted as well.

    Raises NotTracedError.
    """
    adapter = server.adapter

    def send() -> None:
        kind = adapter.kind(workload.content_type)
        status, answer = post(server.predictions, adapter.wrap(workload.body), kind, adapter.headers)
        if status != 200:
            raise WrongAnswerError(f"{server.predictions}: {status} {answer[:200]!r} instead of a 200")

    return IoBytes(workload.name, server.name, len(workload.body), count_moved(server, send, folder))


def count_moved(server: ServerProcess, send: Callable[[], object], folder: Path) -> float:
    """Return the bytes that the server's processes read and write for each call of `send`, one after the other.

    Raises NotTracedError.
    """
    if shutil.which("strace") is None:
        raise NotTracedError("strace is not installed")
    front = server.front()
    pids = [process.pid for process in (front, *server.others(front))]
    written = folder / f"{server.name}.strace"
    words = ["strace", "-f", "-s", "0", "-e", f"trace={_CALLS}", "-e", "signal=none", "-o", str(written)]
    tracer = subprocess.Popen([*words, *(f"-p{pid}" for pid in pids)], stderr=subprocess.DEVNULL)
    try:
        _wait_until_traced(tracer, pids)
        before = written.stat().st_size
        for _ in range(REQUESTS):
            send()
    finally:
        tracer.send_signal(signal.SIGINT)  # strace detaches from the processes
        tracer.wait(timeout=30)
    with written.open() as file:
        file.seek(before)
        return returned(file.read()) / REQUESTS


def _wait_until_traced(tracer: subprocess.Popen[bytes], pids: list[int]) -> None:
    deadline = time.monotonic() + 30
    while not all(f"TracerPid:\t{tracer.pid}" in Path(f"/proc/{pid}/status").read_text() for pid in pids):
        if tracer.poll() is not None or time.monotonic() > deadline:
            raise NotTracedError("strace may not attach to the servers")
        time.sleep(0.05)


def returned(text: str) -> int:
    """Return the bytes that all calls in strace's output moved, as they returned them. Failed calls moved none."""
    return sum(int(count) for count in _RETURNED.findall(text))


def table(seen: list[IoBytes]) -> list[str]:
    """Return a Markdown table."""
    lines = [
        "",
        "| workload | server | bytes of the body | moved through the kernel for each request | times the body |",
    ]
    lines += ["|---|---|---:|---:|---:|"]
    return lines + [
        f"| {each.workload} | {each.server} | {each.body:,} | {each.moved:,.0f} | {each.moved / each.body:.1f} |"
        for each in seen
    ]
