"""die_with_parent(): ensures that no process of a worker outlives the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int | None) -> None:
    """Have the kernel kill this process when its parent dies; exit if that has happened already.

    `parent` is the pid that must be the parent; None is the current parent.
    """
    expected = os.getppid() if parent is None else parent
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != expected:  # the parent died before the kernel was asked
        sys.exit(f"the parent process {expected} has gone")
