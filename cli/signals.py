"""What signals ask of the server, and how they are taken from its start to its end.

A signal may come at any time: before the event loop runs, while models load, in a drain, and after the loop. `Signals`
holds the handlers all along. What a signal asks for before somebody listens is kept, and told to the first listener.

SIGTERM and SIGINT stop the server. A second SIGTERM adds nothing: `torchserve --stop` may be called twice, and
`timeout` signals its child and then the child's process group. A second SIGINT is somebody at a keyboard who won't
wait, unless it follows the first signal within REPEATED seconds, as where a wrapper passes on the Ctrl-C that the
terminal sent to all. SIGHUP means that the terminal is gone, if there is one; else log files are opened anew, as for
SIGUSR1.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import fcntl
import logging
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from enum import Enum
from types import FrameType

log = logging.getLogger(__name__)

REPEATED = 1.0  # seconds
_PIPE_SIZE = 1 << 20  # bytes: the stacks of a hundred threads
_WRITTEN = 0.1  # seconds without a further byte, behind which all stacks are written
_PIPE_LIMIT = 1031  # F_SETPIPE_SZ
_TAKEN = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_MAY_BE_IGNORED = frozenset({signal.SIGINT, signal.SIGHUP})  # by nohup, and by a shell's `&`


class Wish(Enum):
    """A thing that a signal asks of the server."""

    STOP = "stop"
    END = "end at once"
    REOPEN = "open the log files anew"
    NOTHING = "nothing"


class Wishes:
    """An account of what signals ask for, in the order in which they come.

    `terminal` says that the server is run from a terminal.
    """

    def __init__(self, *, terminal: bool) -> None:
        self._terminal = terminal
        self._stopped: float | None = None

    def of(self, number: int, now: float) -> Wish:
        """Return what the signal that has come at `now`, in seconds, asks for."""
        if number == signal.SIGUSR2:
            return Wish.NOTHING
        if number == signal.SIGUSR1 or (number == signal.SIGHUP and not self._terminal):
            return Wish.REOPEN
        if self._stopped is None:
            self._stopped = now
            return Wish.STOP
        return Wish.END if number == signal.SIGINT and now - self._stopped >= REPEATED else Wish.NOTHING


class Signals:
    """A holder of the signal handlers of the server's process, from now on until it ends.

    With `own_session` the server was started in the background: it has no terminal, and a SIGHUP that its starter
    ignored (nohup) is not ignored.
    """

    def __init__(self, *, own_session: bool) -> None:
        self._wishes = Wishes(terminal=not own_session and _has_terminal())
        self._early: list[tuple[int, Wish]] = []
        self._heard: Callable[[int, Wish], None] = lambda number, wish: self._early.append((number, wish))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._numbers = [
            number
            for number in _TAKEN
            if own_session or number not in _MAY_BE_IGNORED or signal.getsignal(number) is not signal.SIG_IGN
        ]
        self._catch()
        self._stacks = _Stacks()

    def listen(self, heard: Callable[[int, Wish], None]) -> None:
        """Call `heard` on the running event loop with each signal, those that have come already included."""
        self._heard = heard
        self._loop = asyncio.get_running_loop()
        for number in self._numbers:
            self._loop.add_signal_handler(number, self._take, number)
        while self._early:
            heard(*self._early.pop(0))

    def deafen(self) -> None:
        """Ignore what comes from now on: the process is about to end by itself. The loop must not be closed yet."""
        self._heard = _ignore
        if self._loop is not None:
            for number in self._numbers:
                self._loop.remove_signal_handler(number)
                signal.signal(number, self._catch_one)
            self._loop = None

    def close(self) -> None:
        self._stacks.close()

    def _catch(self) -> None:
        for number in self._numbers:
            signal.signal(number, self._catch_one)

    def _catch_one(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._take(number)

    def _take(self, number: int) -> None:
        self._heard(number, self._wishes.of(number, time.monotonic()))


def _ignore(number: int, wish: Wish) -> None:
    del number, wish


class _Stacks:
    """A dump of all threads' stacks that goes to the log on SIGQUIT, as a JVM's thread dump; the server goes on.

    The stacks are written by C code, so that a thread that holds the interpreter for long is shown in the act.
    """

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)  # what has no room is left out: a signal handler must not wait
        with contextlib.suppress(OSError):  # the user has used up what pipes may take; 64 KiB are left
            fcntl.fcntl(self._writing, _PIPE_LIMIT, _PIPE_SIZE)
        faulthandler.register(signal.SIGQUIT, file=self._writing, all_threads=True, chain=False)
        threading.Thread(target=_log_stacks, args=(reading,), name="stacks", daemon=True).start()

    def close(self) -> None:
        faulthandler.unregister(signal.SIGQUIT)
        signal.signal(signal.SIGQUIT, signal.SIG_IGN)  # its default would kill a server that is about to end
        os.close(self._writing)


def _log_stacks(reading: int) -> None:
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        while text := pipe.read(_PIPE_SIZE):
            while select.select([pipe], [], [], _WRITTEN)[0] and (more := pipe.read(_PIPE_SIZE)):
                text += more
            log.warning(
                "SIGQUIT: the stacks of all threads, each with its latest call first\n%s", text.decode().strip()
            )


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
