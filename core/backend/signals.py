"""Signals to a worker: it is the front that ends its workers, by closing the connection or with SIGKILL.

A terminal, a service manager that signals every process of a service (systemd's KillMode=control-group) and an operator
may send SIGTERM to a worker while the front still drains. A worker that obeyed would lose the batch that it runs.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
from types import FrameType

KEPT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def take_signals(name: str) -> None:
    """Have the worker `name` go on in spite of signals, and write its stacks to its log on SIGQUIT or a crash.

    The handlers are functions, not SIG_IGN: processes that the handler starts can be terminated as ever.
    """
    errors = os.dup(2)  # a handler may close its standard error, and the number may be another file's then
    faulthandler.enable(errors)
    faulthandler.register(signal.SIGQUIT, file=errors, all_threads=True)

    def go_on(number: int, frame: FrameType | None) -> None:
        del frame
        if number != signal.SIGINT:  # which a terminal sends to all
            sent = signal.Signals(number).name
            told = f"{name} goes on: {sent} is for the server's process. SIGKILL replaces a worker.\n"
            os.write(errors, told.encode())

    for number in KEPT:
        signal.signal(number, go_on)
    _let_children_obey(go_on)


def _let_children_obey(go_on: object) -> None:
    """Give the signals their usual effect in processes that the handler forks, unless the handler takes them.

    A signal that comes to the new process first waits until that is done.
    """
    masks: dict[int, set[int]] = {}  # by thread

    def hold() -> None:
        masks[threading.get_ident()] = set(signal.pthread_sigmask(signal.SIG_BLOCK, KEPT))

    def obey() -> None:
        for number in KEPT:
            if signal.getsignal(number) is go_on:
                signal.signal(number, signal.SIG_DFL)
        release()

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, masks.pop(threading.get_ident()))

    os.register_at_fork(before=hold, after_in_parent=release, after_in_child=obey)
