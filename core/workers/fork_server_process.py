"""ForkServerProcess: a process of the fork server as it is started, without an event loop."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Mapping, Sequence

import msgspec

from ..wire.fork_messages import Preload
from .child_process import start_process

# The variables that may differ from the fork server's: they are read later, or what has read them is told anew.
_MAY_DIFFER = frozenset(("OMP_NUM_THREADS", "TS_WORKER_CORES", "CUDA_VISIBLE_DEVICES"))

_LIMITS = [value for name, value in vars(resource).items() if name.startswith("RLIMIT_")]


class ForkServerProcess:
    """A process that has been started, and the front's end of its socket.

    `inherited` is what it has of its parent beside the environment.
    """

    def __init__(self, python: str, environment: Mapping[str, str], modules: Sequence[str] = ()) -> None:
        """Start it, and have it import `modules` before it is asked for anything. Raises OSError."""
        self.environment = {name: value for name, value in environment.items() if name != "CUDA_VISIBLE_DEVICES"}
        self.inherited = inherited()
        self.socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                if modules:
                    _ = self.socket.send(msgspec.json.encode(Preload(tuple(modules))))
                command = [python, "-P", "-m", "torchserve.core.backend", "--forks"]
                command += ["--fd", str(theirs.fileno()), "--parent", str(os.getpid())]
                self.popen = start_process(command, self.environment, pass_fds=(theirs.fileno(),))
            except OSError:
                self.socket.close()
                raise
        self.socket.setblocking(False)

    def strange(self, environment: Mapping[str, str]) -> str:
        """Return what keeps workers with `environment` from being forked from this process, "" if nothing does."""
        names = [name for name in self.differing(environment) if name not in _MAY_DIFFER]
        if names:
            return f"its environment differs in {', '.join(sorted(names))}"
        return "" if self.inherited == inherited() else "the server's limits or its working folder have changed"

    def follow(self) -> None:
        """Give it the limit of open files that this process has now, which a server raises while it starts. Raises
        OSError.
        """
        _ = resource.prlimit(self.popen.pid, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
        self.inherited = (_limits(), *self.inherited[1:])

    def differing(self, environment: Mapping[str, str]) -> list[str]:
        """Return the names of the variables that this process has otherwise or not at all, or has alone."""
        given = self.environment
        return [name for name in {**given, **environment} if given.get(name) != environment.get(name)]

    def end(self) -> None:
        """Kill it and wait for its end, unless an event loop watches it."""
        self.socket.close()
        with self.popen:
            self.popen.kill()


def inherited() -> tuple[object, ...]:
    """Return what a process has of its parent, besides the environment."""
    return _limits(), os.sched_getaffinity(0), os.getpriority(os.PRIO_PROCESS, 0), os.getcwd()  # noqa: PTH109


def _limits() -> tuple[tuple[int, int], ...]:
    return tuple([resource.getrlimit(each) for each in _LIMITS])
