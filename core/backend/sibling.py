"""fork_sibling(): forks a process whose parent is this process's own parent.

The kernel can do that (CLONE_PARENT): whoever is the parent gets the exit code, can hold a pidfd without a race, and is
the one whose death PR_SET_PDEATHSIG tells of. The new process needs nothing of the one that forked it, and no third
one is left as a zombie. The C library offers it to nobody who wants a whole copy of the process, so its `fork` is done
by hand here:

1. Python's own preparations and repairs are functions of its C interface, which os.fork calls as well.
2. The system call is the one of glibc's fork with one flag more. The C library remembers the thread's id in memory that
   the kernel writes at the start of a new process (CLONE_CHILD_SETTID). Until glibc 2.41 that is where the kernel tells
   of a thread's end, too (CLONE_CHILD_CLEARTID), and PR_GET_TID_ADDRESS tells the place; later ones have two places,
   of which the first is known by what glibc tells debuggers of its threads.
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

# The numbers of the system calls clone and set_tid_address.
_CALLS = {"x86_64": (56, 218), "aarch64": (220, 96)}


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
    machine = platform.machine()
    if machine not in _CALLS:
        raise Impossible(f"processors of the kind {machine} are not known to it", final=True)
    try:
        running = threads()
    except OSError as error:
        raise Impossible(f"there is no /proc: {error}", final=True) from None
    if running != 1:
        raise Impossible(f"the fork server has {running} threads", final=True)
    library = ctypes.PyDLL(None, use_errno=True)  # the interpreter's lock is kept
    ending = ctypes.c_void_p()
    if library.prctl(_PR_GET_TID_ADDRESS, ctypes.byref(ending), 0, 0, 0) or not ending.value:
        raise Impossible(f"the kernel hides the thread's address: {os.strerror(ctypes.get_errno())}", final=True)
    place = _place_of_id(library, ending.value)
    call = library.syscall
    call.restype = ctypes.c_long
    clone, set_tid_address = map(ctypes.c_long, _CALLS[machine])
    flags = _CLONE_PARENT | _CHILD_CLEARTID | _CHILD_SETTID | signal.SIGCHLD
    address, zero = ctypes.c_void_p(place), ctypes.c_long(0)
    # Arguments 4 and 5 are the thread's address and its local storage, in an order that depends on the processor.
    last = (address, zero) if machine == "x86_64" else (zero, address)
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = call(clone, ctypes.c_long(flags), zero, zero, *last)
    if pid == 0:
        if place != ending.value:
            call(set_tid_address, ending)
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    error = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise Impossible(f"the kernel refuses: {os.strerror(error)}", final=True)
    return pid


def _place_of_id(library: ctypes.PyDLL, ending: int) -> int:
    """Return the address where the C library keeps the main thread's id. `ending` is where the kernel tells of the
    thread's end. Raises Impossible.
    """
    own = os.getpid()
    if ctypes.c_int.from_address(ending).value == own:
        return ending
    library.pthread_self.restype = ctypes.c_size_t
    try:  # bits, count and offset of the field in what pthread_self points to, as libthread_db reads them
        _, _, offset = (ctypes.c_uint32 * 3).in_dll(library, "_thread_db_pthread_tid")
    except ValueError:
        raise Impossible("the C library does not tell where it keeps the thread's id", final=True) from None
    place = library.pthread_self() + offset
    if ctypes.c_int.from_address(place).value != own:
        raise Impossible("the C library keeps the thread's id elsewhere", final=True)
    return place
