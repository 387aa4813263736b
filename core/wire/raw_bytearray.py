"""raw_bytearray: memory for a body that is about to be received, as a bytearray that nothing has been written to.

`bytearray(size)` writes zeros first, which over loopback is a third of what moving a large body costs. May import
nothing of ours.
"""

from __future__ import annotations

import ctypes
from typing import Any

_new: Any = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_char_p, ctypes.c_ssize_t)(
    ("PyByteArray_FromStringAndSize", ctypes.pythonapi)
)


def raw_bytearray(size: int) -> bytearray:
    """Return a bytearray whose content is whatever the memory held. Nobody may see a byte of it before it is written.

    Raises MemoryError.
    """
    return _new(None, size)
