"""Memory without a name, in Pythons that were built with headers older than the kernel, too."""

from __future__ import annotations

import ctypes
import errno
import os
from typing import Final

# Of Linux's fcntl.h and memfd.h; Pythons of conda and of other portable builds have no names for them.
F_ADD_SEALS: Final = 1033
F_SEAL_SEAL: Final = 0x1
F_SEAL_SHRINK: Final = 0x2
F_SEAL_GROW: Final = 0x4
F_SEAL_FUTURE_WRITE: Final = 0x10  # of Linux 5.1
_CLOEXEC, _ALLOW_SEALING = 0x1, 0x2


def make_memfd(name: str) -> int:
    """Return the descriptor of a new, empty memory that can be sealed. Raises OSError if the system grants none."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create(name, _CLOEXEC | _ALLOW_SEALING)
    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "memfd_create"):
        raise OSError(errno.ENOSYS, "the C library has no memfd_create")
    descriptor = library.memfd_create(name.encode(), _CLOEXEC | _ALLOW_SEALING)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return descriptor
