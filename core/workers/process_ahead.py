"""Starts the fork server's process before anything is read: it starts Python and imports its own modules meanwhile.

It is the first that a server does, so this imports little. Whether a model gains from the fork server, and which
environment workers get, is known once the settings are read: `early_fork_server` takes the process then, or ends it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection

from ..container_limits import available_cores
from .fork_server_process import ForkServerProcess
from .threads import threads_per_worker
from .worker_environment import worker_environment

_started: list[ForkServerProcess] = []


def start_ahead(without: Collection[str] = ()) -> None:
    """Start a process with the environment that most settings give workers. `take_ahead` returns it. Never raises.

    `without` are variables that this process will have removed from its environment.
    """
    base = {name: value for name, value in os.environ.items() if name not in without}
    threads = threads_per_worker(1, available_cores())
    try:
        environment = worker_environment(base, hidden=None, gpus=(), threads=threads)
        _started.append(ForkServerProcess(sys.executable, environment))
    except OSError:
        pass  # without memory or descriptors for one process more, the start itself tells why it fails


def take_ahead() -> ForkServerProcess | None:
    """Return the process that `start_ahead` has started, once."""
    return _started.pop() if _started else None


def end_ahead() -> None:
    """End that process, unless it was taken."""
    if (process := take_ahead()) is not None:
        process.end()
