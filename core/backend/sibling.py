"""fork_sibling(): forks a process whose parent is this process's own parent.

The kernel can do that (CLONE_PARENT): whoever is the parent gets the exit code, can hold a pidfd without a race, and is
the one whose death PR_SET_PDEATHSIG tells of. The new process needs nothing of the one that forked it, and no third
one is left as a zombie. The C library offers it to nobody who wants a whole copy of the process, so its `fork` is done
by hand here:

1. Python's own preparations and repairs are functions of its C interface, which os.fork calls as well.
2. The system call is the one of glibc's fork with one flag more. The C library remembers the thread's id in memory that
   the kernel writes at the start of a new process (CLONE_CHILD_SETTID); PR_GET_TID_ADDRESS tells where that is.
3. The handlers of pthread_atfork are not run. They are for locks that other threads hold and for threads that have to
   be stopped before: this must be called while there is one thread alone, and refuses otherwise.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
from pathlib import Path

_CLONE_PARENT, _CHILD_CLEARTID, _CHILD_SETTID = 0x8000, 0x00200000, 0x01000000
_PR_GET_TID_ADDRESS = 40

# The number of clone, and the places of the address of the thread's id and of what is 0 among its arguments.
_CLONE = {"x86_64": 56, "aarch64": 220}


class Impossible(Exception):
    """An error for a process that is not forked; the message says why, after "since". If `final`, none will ever be."""

    def __init__(self, message: str, *, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


def threads() -> int:
    """Return how many threads this process has. Raises OSError where there is no /proc."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def fork_sibling() -> int:
    """Fork, as os.fork does: return 0 in the new process, whose parent is this one's parent, and its pid here.

    Raises Impossible.
    """
    number = _CLONE.get(platform.machine())
    if number is None:
        raise Impossible(f"processors of the kind {platform.machine()} are not known to it", final=True)
    try:
        running = threads()
    except OSError as error:
        raise Impossible(f"there is no /proc: {error}", final=True) from None
    if running != 1:
        raise Impossible(f"the fork server has {running} threads", final=True)
    library = ctypes.PyDLL(None, use_errno=True)  # the interpreter's lock is kept
    address = ctypes.c_void_p()
    if library.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(address), 0, 0, 0) or not address.value:
        raise Impossible(f"the kernel hides the thread's address: {os.strerror(ctypes.get_errno())}", final=True)
    if ctypes.c_int.from_address(address.value).value != os.getpid():
        raise Impossible("the C library keeps the thread's id elsewhere", final=True)
    call = library.syscall
    call.restype = ctypes.c_long
    flags = _CLONE_PARENT | _CHILD_CLEARTID | _CHILD_SETTID | signal.SIGCHLD
    zero = ctypes.c_long(0)
    # Arguments 4 and 5 are the thread's address and its local storage, in an order that depends on the processor.
    last = (address, zero) if number == _CLONE["x86_64"] else (zero, address)
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = call(ctypes.c_long(number), ctypes.c_long(flags), zero, zero, *last)
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    error = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise Impossible(f"the kernel refuses: {os.strerror(error)}", final=True)
    return pid
