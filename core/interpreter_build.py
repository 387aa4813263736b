"""Tells whether an interpreter was built with profile-guided optimisation, which the front's speed depends on.

`./configure --enable-optimizations` says so in sysconfig. Debian and Ubuntu build their Python with a profile, too, but
by other means, and keep its flags out of sysconfig; PGO_PROF_USE_FLAG is set in builds without a profile and empty in
Debian's. So the machine code is looked at as well: a compiler that has a profile puts functions where the profile wants
them, hot ones together. Without one it keeps the order of the source, and the functions of one file lie side by side;
link-time optimisation alone changes neither. In Debian's 3.11, 3.13, 3.14 and 3.15 the functions of lists are 1.5 to
2.4 MiB apart, in builds of 3.9 to 3.13 without a profile 7 to 9 KiB, in order.

`python interpreter_build.py` tells it of the interpreter that runs it: this file imports nothing of ours.
"""

from __future__ import annotations

import ctypes
import platform
import sys
import sysconfig
from collections.abc import Sequence
from itertools import pairwise

# Functions of CPython's Objects/listobject.c, in the order of that file.
_IN_ORDER = (
    "PyList_New", "PyList_Size", "PyList_GetItem", "PyList_SetItem", "PyList_Insert", "PyList_Append",
    "PyList_GetSlice", "PyList_SetSlice", "PyList_Sort", "PyList_Reverse", "PyList_AsTuple",
)  # fmt: skip
_ONE_FILE = 1 << 16  # bytes: several times what the functions of one source file take
_SLOWER = "1.35 to 1.4"  # times the processor time of the front, measured beside Debian's build of the same Python


def is_profiled(configured: str | None, addresses: Sequence[int]) -> bool | None:
    """Return whether a build had a profile, None if that can't be told.

    `configured` are the arguments of `configure` (CONFIG_ARGS), `addresses` those of the functions of one source file,
    in its order, none if they aren't known.
    """
    if configured is not None and "--enable-optimizations" in configured:
        return True
    if len(addresses) < 2:
        return None
    ordered = all(first < second for first, second in pairwise(addresses))
    close = max(addresses) - min(addresses) < _ONE_FILE
    if not ordered and not close:
        return True
    return False if configured is not None and ordered and close else None


def function_addresses() -> list[int]:
    """Return where this interpreter's functions of lists lie, in their source's order; [] if they can't be found."""
    try:
        found = [ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value for name in _IN_ORDER]
    except (AttributeError, OSError):  # another implementation of Python, or no dynamic symbols
        return []
    return [address for address in found if address is not None]


def describe_interpreter() -> str:
    """Return a line about the interpreter that runs this: its version, and how it was built."""
    configured = sysconfig.get_config_var("CONFIG_ARGS")
    return describe_build(platform.python_version(), is_profiled(configured, function_addresses()), configured)


def describe_build(version: str, profiled: bool | None, configured: str | None) -> str:
    """Return a line about a build of Python."""
    lto = " and --with-lto" if configured is not None and "--with-lto" in configured else ""
    if profiled:
        return f"Python {version}, built with profile-guided optimisation{lto}"
    if profiled is None:
        return f"Python {version}, whether built with profile-guided optimisation is unknown"
    return f"Python {version}, built without profile-guided optimisation{lto}: the front takes {_SLOWER} times as long"


if __name__ == "__main__":
    sys.stdout.write(f"{describe_interpreter()}\n")
