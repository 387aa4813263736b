"""Starting a backend process on this host: a socketpair to talk over, pipes for its prints, a pidfd for its death."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping

LINE_LIMIT = 16_384  # bytes; a longer line is logged in pieces, so that a handler printing megabytes costs no memory

LineSink = Callable[[str, str], None]  # (stream: "stdout" or "stderr", line)


class LocalProcess:
    """A backend process. `socket` is the front's end of the conversation; `exited` resolves to the return code
    (negative: the signal that killed it) as soon as it is dead.
    """

    def __init__(self, popen: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self.pid = popen.pid
        self.socket = sock
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._popen = popen
        self._pipes: list[asyncio.ReadTransport] = []
        self._pidfd = os.pidfd_open(popen.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    async def read_output(self, sink: LineSink) -> None:
        loop = asyncio.get_running_loop()
        for stream, pipe in (("stdout", self._popen.stdout), ("stderr", self._popen.stderr)):
            transport, _ = await loop.connect_read_pipe(lambda stream=stream: _Lines(stream, sink), pipe)
            self._pipes.append(transport)

    def kill(self) -> None:
        """SIGKILL it and whatever it started; nothing happens if it has gone already."""
        if not self.exited.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._popen.wait()
        with contextlib.suppress(ProcessLookupError):  # children that the handler left in its process group
            os.killpg(self.pid, signal.SIGKILL)
        self.exited.set_result(code)
        # The pipes end by themselves, unless a stray grandchild in a session of its own holds them open.
        asyncio.get_running_loop().call_later(1.0, self._close_pipes)

    def _close_pipes(self) -> None:
        for pipe in self._pipes:
            pipe.close()


class _Lines(asyncio.Protocol):
    """Cuts a stream of bytes into lines."""

    def __init__(self, stream: str, sink: LineSink) -> None:
        self._stream = stream
        self._sink = sink
        self._rest = b""

    def data_received(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._emit(line)
        while len(rest) > LINE_LIMIT:
            self._emit(rest[:LINE_LIMIT])
            rest = rest[LINE_LIMIT:]
        self._rest = rest

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self._emit(self._rest)

    def _emit(self, line: bytes) -> None:
        for start in range(0, len(line) or 1, LINE_LIMIT):
            self._sink(self._stream, line[start : start + LINE_LIMIT].decode("utf-8", "replace").rstrip("\r"))


async def spawn(name: str, environment: Mapping[str, str], sink: LineSink, python: str | None = None) -> LocalProcess:
    """Start `python -m torchserve.core.backend` for the worker `name`. Raises OSError if the system refuses."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Blocks for the milliseconds of a vfork and an exec; asyncio's own way would put a thread behind each child.
        popen = subprocess.Popen(  # noqa: ASYNC220
            [
                *(python or sys.executable, "-P", "-m", "torchserve.core.backend"),
                *("--fd", str(theirs.fileno()), "--name", name, "--parent", str(os.getpid())),
            ],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    ours.setblocking(False)
    process = LocalProcess(popen, ours)
    await process.read_output(sink)
    return process


def worker_environment(
    base: Mapping[str, str], *, hidden: str | None, gpu_uuid: str | None, threads: int
) -> dict[str, str]:
    """A worker's environment: the server's, less the names that match `hidden` in full, with one GPU made visible.

    `threads` is what OpenMP, and so torch and numpy, compute with, unless OMP_NUM_THREADS is there already.
    """
    pattern = re.compile(hidden) if hidden else None
    environment = {name: value for name, value in base.items() if not (pattern and pattern.fullmatch(name))}
    environment.setdefault("OMP_NUM_THREADS", str(threads))
    if gpu_uuid is not None:
        environment["CUDA_VISIBLE_DEVICES"] = gpu_uuid
    return environment
