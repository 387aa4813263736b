"""Starting a backend process on this host: a socketpair to talk over, pipes for its prints, a pidfd for its death."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence

import psutil

from ..bounded_match import TooCostly, matching
from ..config.parallel import Parallel
from ..errors import InvalidConfig
from ..logs.plan import log_folder
from .lent_requests import LentRequests
from .shared_memory import Requests, Results, shared
from .threads import Threads
from .torchrun import handed_out, torchrun_command

log = logging.getLogger(__name__)

LINE_LIMIT = 16_384  # bytes; a longer line is logged in pieces, so that a handler printing megabytes costs no memory

# Bytes that one side may be ahead of the other. With the system's 208 KiB a body of 1 MB costs five changes between the
# processes; it may allow less than this, silently.
_AHEAD = 1 << 20

# Seconds that a process may take to end after SIGKILL. One that hangs in a driver takes for ever, and is left behind.
KILL_WAIT = 10.0

LineSink = Callable[[str, str], None]  # (stream: "stdout" or "stderr", line)


class LocalProcess:
    """A backend process. `socket` is the front's end of the conversation; `exited` resolves to the return code
    (negative: the signal that killed it) as soon as it is dead, or KILL_WAIT seconds after `kill` was called. With
    `results` it has the requests' memory, too.
    """

    def __init__(
        self,
        popen: subprocess.Popen[bytes],
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
        self.exited: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._popen = popen
        self._groups = [popen.pid]  # of processes that end with this one; a torchrun's ranks have one each
        self._pipes: list[asyncio.ReadTransport] = []
        self._reading: asyncio.Task[None] | None = None
        self._killed: asyncio.TimerHandle | None = None
        self._pidfd = os.pidfd_open(popen.pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    def read_output(self, sink: LineSink) -> None:
        """Begin to pass on what it prints."""
        self._reading = asyncio.get_running_loop().create_task(self._connect_pipes(sink))

    async def _connect_pipes(self, sink: LineSink) -> None:
        loop = asyncio.get_running_loop()
        for stream, pipe in (("stdout", self._popen.stdout), ("stderr", self._popen.stderr)):
            transport, _ = await loop.connect_read_pipe(lambda stream=stream: _Lines(stream, sink), pipe)
            self._pipes.append(transport)

    def settle(self) -> None:
        """All the processes it needs are there: remember the groups that a torchrun's ranks have for themselves."""
        if not self._torchrun:
            return
        with contextlib.suppress(psutil.Error):
            self._groups = [self.pid, *(child.pid for child in psutil.Process(self.pid).children())]

    @property
    def pids(self) -> list[int]:
        """Of the processes that run the handler: of a torchrun's ranks in their order, once settled, or its own."""
        return self._groups[1:] or [self.pid] if self._torchrun else [self.pid]

    def kill(self) -> None:
        """SIGKILL it and whatever it started; nothing happens if it has gone already."""
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
        """Count it as dead although it is not: nobody shall wait for it for ever. It is reaped if it ends after all."""
        log.error(
            "The process %d was killed %g s ago and has not ended: it hangs in the kernel, most often in a driver. What"
            " it holds, GPU memory included, is free when it ends or the host is started anew.",
            *(self.pid, KILL_WAIT),
        )
        self.exited.set_result(-signal.SIGKILL)

    def _reap(self) -> None:
        if self.lent is not None:
            self.lent.close()
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        code = self._popen.wait()
        self._kill_groups()  # children that the handler left in them
        if self._killed is not None:
            self._killed.cancel()
        if not self.exited.done():
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


def spawn(
    name: str,
    environment: Mapping[str, str],
    sink: LineSink,
    python: str | None = None,
    parallel: Parallel | None = None,
    requests: Requests | None = None,
) -> LocalProcess:
    """Start `python -m torchserve.core.backend` for the worker `name`, by torchrun if it has ranks; these share no
    memory with the front. Raises OSError if the system refuses, ValueError for a NUL in an argument;
    nothing has been started then.

    It doesn't wait for anything, so that no cancellation can fall between the start and the caller, who must end it.
    """
    python = python or sys.executable
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _AHEAD)
    results: Results | None = None
    lent: LentRequests | None = None
    try:
        with theirs, contextlib.ExitStack() as handed:
            if parallel is not None and parallel.ranks:
                with handed_out(theirs, parallel.ranks) as ends:
                    command = torchrun_command(python, parallel, name, log_folder() / "torchelastic_ts")
                    popen = _popen(command, environment, stdin=ends.fileno())
            else:
                command = [python, "-P", "-m", "torchserve.core.backend", "--name", name, "--parent", str(os.getpid())]
                command += ["--fd", str(theirs.fileno())]
                passed = [theirs.fileno()]
                if requests is not None and (results := shared(Results)) is not None:
                    control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                    handed.enter_context(far)
                    lent = LentRequests(requests, control)
                    passed += [far.fileno(), results.descriptor]
                    command += ["--memory", *map(str, passed[1:])]
                popen = _popen(command, environment, pass_fds=tuple(passed))
    except (OSError, ValueError):
        _close(ours, lent)
        raise
    ours.setblocking(False)
    try:
        process = LocalProcess(popen, ours, torchrun=bool(parallel and parallel.ranks), results=results, lent=lent)
    except OSError:  # there is no descriptor left to watch it by
        _close(ours, lent)
        with popen:
            popen.kill()
        raise
    process.read_output(sink)
    return process


def _close(ours: socket.socket, lent: LentRequests | None) -> None:
    ours.close()
    if lent is not None:
        lent.close()


def _popen(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdin: int = subprocess.DEVNULL,
    pass_fds: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    # Blocks for the milliseconds of a vfork and an exec; asyncio's own way would put a thread behind each child.
    return subprocess.Popen(
        command,
        env=dict(environment),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=pass_fds,
        start_new_session=True,
    )


def worker_environment(
    base: Mapping[str, str], *, hidden: str | None, gpus: Sequence[str], threads: Threads
) -> dict[str, str]:
    """A worker's environment: the server's, less the names that match `hidden` in full, with its GPUs (uuids) made
    visible.

    `threads` is what OpenMP, and so torch and numpy, compute with, unless it is said there already.
    """
    environment = visible(base, hidden)
    environment |= threads.variables(environment)
    if gpus:
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    return environment


def visible(base: Mapping[str, str], hidden: str | None) -> dict[str, str]:
    """Return `base` less the names that match `hidden` in full (blacklist_env_vars). Raises InvalidConfig.

    The first call with a pattern blocks, see `bounded_match`; the server makes it before it serves.
    """
    unseen = _matching(hidden, frozenset(base)) if hidden else frozenset[str]()
    return {name: value for name, value in base.items() if name not in unseen}


@functools.lru_cache(maxsize=8)
def _matching(pattern: str, names: frozenset[str]) -> frozenset[str]:
    try:
        return frozenset(matching([pattern], names))
    except (TooCostly, OSError) as error:
        raise InvalidConfig(f"blacklist_env_vars can't be compared with the environment: {error}") from None


def describe_exit(code: int) -> str:
    """What became of a process with that return code."""
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
