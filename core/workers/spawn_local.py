"""Starts a backend process on this host, with a socketpair to talk over, pipes for its output and a watch over its
death.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from typing import IO, Protocol

import psutil

from ..config.parallel import Parallel
from ..logs.plan import log_folder
from ..wire.messages import Load
from ..wire.torchrun import handed_out, torchrun_command
from .child_process import start_process
from .death_watch import DeathWatch
from .lent_requests import LentRequests
from .memory import resident
from .process_ends import ProcessEnds
from .shared_memory import Requests, Results
from .thread_stacks import ThreadStacks

log = logging.getLogger(__name__)

LINE_LIMIT = 16_384  # bytes; a longer line is logged in pieces, so that a handler printing megabytes costs no memory

# Seconds that a process may take to end after SIGKILL. One that hangs in a driver may never end, and is abandoned.
KILL_WAIT = 10.0

OnLine = Callable[[str, str], None]  # (stream: "stdout" or "stderr", line)


class Child(Protocol):
    """A child of this process whose output is read here, as subprocess.Popen is."""

    @property
    def pid(self) -> int: ...
    @property
    def stdout(self) -> IO[bytes] | None: ...
    @property
    def stderr(self) -> IO[bytes] | None: ...
    def wait(self) -> int:
        """Wait for its end, and return its exit code (negative: the signal that killed it)."""
        ...


class LocalProcess:
    """A backend process.

    `socket` is the front's end of the connection. `exited` resolves to the return code (negative: the signal that
    killed it) as soon as the process is dead, or KILL_WAIT seconds after `kill` was called. With `results`, the process
    has the requests' memory, too.
    """

    where = ending = ""  # of processes on other hosts, as is `gpus`
    gpus = 0.0

    def __init__(
        self,
        popen: Child,
        sock: socket.socket,
        *,
        torchrun: bool = False,
        results: Results | None = None,
        lent: LentRequests | None = None,
    ) -> None:
        self.pid = popen.pid
        self.results = results
        self.lent = lent
        self._torchrun = torchrun
        self.socket = sock
        self._connecting = False
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._popen = popen
        self._groups = [popen.pid]  # process groups that end with this process; each rank of torchrun has its own
        self._pipes: list[asyncio.ReadTransport] = []
        self._reading: asyncio.Task[None] | None = None
        self._killed: asyncio.TimerHandle | None = None
        self._stacks = ThreadStacks(lambda: self.pids)
        self._watch = DeathWatch(popen.pid, self._reap)

    async def connect(self, protocol: asyncio.BufferedProtocol) -> None:
        """Connect `protocol` to the process."""
        self._connecting = True
        await asyncio.get_running_loop().create_unix_connection(lambda: protocol, sock=self.socket)

    def localized(self, load: Load) -> Load:
        """Return `load` as it is: the process is on the front's host."""
        return load

    def abandon(self) -> None:
        """Close the connection, unless a protocol is about to get it, which then closes it."""
        if not self._connecting:
            self.socket.close()

    @property
    def memory(self) -> int:
        """The bytes of host memory that the process has in use."""
        return sum(map(resident, self.pids))

    def read_output(self, on_line: OnLine) -> None:
        """Begin to pass on the lines that the process prints."""
        self._reading = asyncio.get_running_loop().create_task(self._connect_pipes(on_line))

    async def _connect_pipes(self, on_line: OnLine) -> None:
        loop = asyncio.get_running_loop()
        for stream, pipe in (("stdout", self._popen.stdout), ("stderr", self._popen.stderr)):
            transport, _ = await loop.connect_read_pipe(lambda stream=stream: _Lines(stream, on_line), pipe)
            self._pipes.append(transport)

    def settle(self) -> None:
        """Remember the process groups of torchrun's ranks. This must be called once all ranks have started."""
        if not self._torchrun:
            return
        with contextlib.suppress(psutil.Error, OSError):  # OSError: there is no /proc
            self._groups = [self.pid, *(child.pid for child in psutil.Process(self.pid).children())]

    @property
    def pids(self) -> list[int]:
        """The pids of the processes that run the handler: torchrun's ranks in their order, once settled, or the only
        one.
        """
        return self._groups[1:] or [self.pid] if self._torchrun else [self.pid]

    async def stacks(self) -> str:
        """Return the Python stacks of all threads of the processes. Raises StacksUnknown."""
        return await self._stacks.read()

    def kill(self) -> None:
        """Send SIGKILL to the process and whatever it started. Nothing happens if it has ended already."""
        if not self.exited.done():
            self.settle()
            self._kill_groups()
            if self._killed is None:
                self._killed = asyncio.get_running_loop().call_later(KILL_WAIT, self._forsake)

    def _kill_groups(self) -> None:
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def _forsake(self) -> None:
        """Count the process as dead although it has not ended, so that no caller waits for ever. It is still reaped if
        it ends.
        """
        log.error(
            "The process %d was killed %g s ago and has not ended: it hangs in the kernel, most often in a driver. What"
            " it holds, GPU memory included, is free when it ends or the host is started anew.",
            *(self.pid, KILL_WAIT),
        )
        self.exited.set_result(-signal.SIGKILL)

    def _reap(self) -> None:
        if self.lent is not None:
            self.lent.close()
        code = self._popen.wait()
        self._kill_groups()  # children that the handler has left behind
        if self._killed is not None:
            self._killed.cancel()
        if not self.exited.done():
            self.exited.set_result(code)
        # The pipes reach their end by themselves, unless a grandchild in a session of its own holds them open.
        asyncio.get_running_loop().call_later(1.0, self._close_pipes)

    def _close_pipes(self) -> None:
        for pipe in self._pipes:
            pipe.close()


class _Lines(asyncio.Protocol):
    """A protocol that cuts a stream of bytes into lines."""

    def __init__(self, stream: str, on_line: OnLine) -> None:
        self._stream = stream
        self._on_line = on_line
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
            self._on_line(self._stream, line[start : start + LINE_LIMIT].decode("utf-8", "replace").rstrip("\r"))


def spawn(
    name: str,
    environment: Mapping[str, str],
    on_line: OnLine,
    python: str | None = None,
    parallel: Parallel | None = None,
    requests: Requests | None = None,
) -> LocalProcess:
    """Start `python -m torchserve.core.backend` for the worker `name`, by torchrun if it has ranks.

    Ranks share no memory with the front. Raises OSError if the system refuses, ValueError for a NUL in an argument; no
    process has been started then. This is not a coroutine, so that no cancellation can come between the start and the
    caller, who must end the process.
    """
    python = python or sys.executable
    ends = ProcessEnds(requests if parallel is None or not parallel.ranks else None)
    try:
        if parallel is not None and parallel.ranks:
            with handed_out(ends.theirs, parallel.ranks) as far_ends:
                options = (*parallel.torchrun_options(), f"--log-dir={log_folder() / 'torchelastic_ts'}")
                command = torchrun_command(python, os.getpid(), options, name, parallel.kind)
                popen = start_process(command, environment, stdin=far_ends.fileno())
        else:
            passed = ends.passed
            command = [python, "-P", "-m", "torchserve.core.backend", "--name", name, "--parent", str(os.getpid())]
            command += ["--fd", str(passed[0])]
            command += ["--memory", *map(str, passed[1:])] if passed[1:] else []
            popen = start_process(command, environment, pass_fds=tuple(passed))
    except (OSError, ValueError):
        ends.close()
        raise
    ends.handed_over()
    ranks = bool(parallel and parallel.ranks)
    try:
        process = LocalProcess(popen, ends.ours, torchrun=ranks, results=ends.results, lent=ends.lent)
    except OSError:  # there is no descriptor left to watch it by
        ends.close()
        with popen:
            popen.kill()
        raise
    process.read_output(on_line)
    return process
