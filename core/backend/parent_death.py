"""die_with_parent(): ensures that no process of a worker outlives the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

_PR_SET_PDEATHSIG = 1
_POLL = 1.0  # seconds, where a sandbox refuses prctl


def die_with_parent(parent: int | None) -> None:
    """Have the kernel kill this process when its parent dies; exit if that has happened already.

    `parent` is the pid that must be the parent; None is the current parent. If the kernel refuses, a thread looks every
    second.
    """
    expected = os.getppid() if parent is None else parent
    refused = ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != expected:  # the parent died before the kernel was asked
        sys.exit(f"the parent process {expected} has gone")
    if refused:
        threading.Thread(target=_look, args=(expected,), name="parent's death", daemon=True).start()


def _look(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL)
    os.kill(os.getpid(), signal.SIGKILL)
