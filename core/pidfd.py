"""Descriptors of processes, where the system has them.

Kernels before 5.3, sandboxes that refuse the calls (older profiles of Docker, gVisor) and Pythons that were built with
older headers have none: the callers do without then.
"""

from __future__ import annotations

import errno
import os
import signal

_REFUSED = frozenset({errno.ENOSYS, errno.EPERM})  # what kernels without a call, and sandboxes, answer


def open_pidfd(pid: int) -> int | None:
    """Return a pidfd of the process, or None where the system has none. Raises ProcessLookupError, OSError."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in _REFUSED:
            return None
        raise


def send_by_pidfd(process: int, number: int) -> bool:
    """Send a signal to a process. Return False where the system refuses. Raises ProcessLookupError, OSError.

    A refusal may also mean that the process is another user's.
    """
    if not hasattr(signal, "pidfd_send_signal"):
        return False
    try:
        signal.pidfd_send_signal(process, number)
    except OSError as error:
        if error.errno in _REFUSED:
            return False
        raise
    return True
