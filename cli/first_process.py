"""The first process of a container, where nothing else is: it starts the server as its child and stands by.

Processes whose parents have died become children of process 1, which has to reap them or they stay as zombies; handlers
leave such ones behind. A server that reaped every child would take the exit codes of its own, so that it is not process
1 itself. Signals are passed on to it, and its exit code is that of the container.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

_PASSED_ON = {
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2,
}  # fmt: skip
_BY_KERNEL = 0x80  # si_code of what a terminal sends, which the server has had, too


def stand_by(command: Sequence[str]) -> NoReturn:
    """Run `command` as a child, and end this process as the child ends."""
    awaited = _PASSED_ON | {signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    server = os.posix_spawn(sys.executable, list(command), os.environ, setsigmask=[])
    while True:
        told = signal.sigwaitinfo(awaited)
        if told.si_signo == signal.SIGCHLD:
            code = _reap(server)
            if code is not None:
                os._exit(code if code >= 0 else 128 - code)
        elif told.si_code != _BY_KERNEL:
            os.kill(server, told.si_signo)


def _reap(server: int) -> int | None:
    """Reap every child that has ended. Return the server's exit code (negative: the signal that killed it), if any."""
    code: int | None = None
    try:
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == server:
                code = os.waitstatus_to_exitcode(found[1])
    except ChildProcessError:
        pass  # there is no other child
    return code
