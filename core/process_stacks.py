"""The Python stacks of a worker's threads, read from outside, whatever its handler does.

faulthandler writes them in the handler of a signal: in C, and without the interpreter's lock. So they can be had while
a handler computes in C code that holds the lock, or keeps its event loop for itself. They are written to memory without
a name that the worker made for them; whoever reads finds it under /proc. A pipe would hold the worker once it is full.

    reader ─ signal ─► worker's signal handler ─ writes ─► its memory ─► reader

The reader knows that all is written when the signal is pending no more, and no thread blocks it that did not block it
before: the kernel blocks a signal in the thread that handles it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from .pidfd import open_pidfd, send_by_pidfd

SIGNAL: Final = signal.SIGRTMAX - 1
PATIENCE: Final = 5.0  # seconds in which a process must have written its stacks
MOST: Final = 1 << 18  # bytes that are read of them
_NAME: Final = "torchserve-stacks"
_PAUSE: Final = 0.005  # seconds between two looks
_THREADS: Final = 2000  # that are looked at
_PROC: Final = Path("/proc")


class StacksUnknown(Exception):
    """A process whose stacks can't be had; the text is a clause that says why."""


def keep_stacks() -> None:
    """Have this process write the stacks of its threads when `read_stacks` asks for them."""
    try:
        memory = os.memfd_create(_NAME, os.MFD_CLOEXEC)
    except (AttributeError, OSError):  # a Python of older headers, or a sandbox
        memory, path = tempfile.mkstemp(prefix=f"{_NAME}-")
        os.unlink(path)  # noqa: PTH108
    # Each write goes to the end, since the reader makes the memory empty.
    fcntl.fcntl(memory, fcntl.F_SETFL, fcntl.fcntl(memory, fcntl.F_GETFL) | os.O_APPEND)
    faulthandler.register(SIGNAL, file=memory, all_threads=True)


def read_stacks(pid: int, patience: float = PATIENCE) -> str:
    """Return the stacks of a process's threads as faulthandler writes them, the innermost call first.

    Blocks for some milliseconds, and for `patience` seconds at most. A process must not be asked twice at a time.
    Raises StacksUnknown.
    """
    try:
        process = open_pidfd(pid)
    except OSError as error:
        raise StacksUnknown(f"the process {pid} has ended") from error
    try:
        memory = _open_memory(pid)
        try:
            os.ftruncate(memory, 0)
            deaf = _blocking(pid)
            if process is None or not send_by_pidfd(process, SIGNAL):
                os.kill(pid, SIGNAL)
            _await_end(pid, memory, deaf, time.monotonic() + patience)
            return os.pread(memory, MOST, 0).decode("utf-8", "replace")
        finally:
            os.close(memory)
    except OSError as error:
        raise StacksUnknown(f"the process {pid} can't be looked at: {error.strerror}") from error
    finally:
        if process is not None:
            os.close(process)


def _open_memory(pid: int) -> int:
    """Open the memory that the process writes to. Raises StacksUnknown unless it would write. Raises OSError."""
    if not _bits(_PROC / str(pid) / "status", "SigCgt") >> (SIGNAL - 1) & 1:
        raise StacksUnknown(f"the process {pid} does not take the signal for it: it is being started, or ends")
    for each in (_PROC / str(pid) / "fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if _NAME in str(each.readlink()):
                return os.open(each, os.O_RDWR | os.O_CLOEXEC)
    raise StacksUnknown(f"the process {pid} has no memory for it")


def _await_end(pid: int, memory: int, deaf: frozenset[str], until: float) -> None:
    while True:
        busy = _pending(pid) or _blocking(pid) - deaf
        if not busy and os.fstat(memory).st_size:
            return
        if time.monotonic() > until:
            if os.fstat(memory).st_size:
                return
            raise StacksUnknown(
                f"the process {pid} takes no signal: it hangs in the kernel, most often in a driver, or is stopped"
            )
        time.sleep(_PAUSE)


def _pending(pid: int) -> bool:
    status = _PROC / str(pid) / "status"
    return bool(_bits(status, "ShdPnd") >> (SIGNAL - 1) & 1)


def _blocking(pid: int) -> frozenset[str]:
    """Return the threads of a process that block the signal, as one does that handles it."""
    return frozenset(thread.name for thread in _threads(pid) if _bits(thread / "status", "SigBlk") >> (SIGNAL - 1) & 1)


def _threads(pid: int) -> Iterator[Path]:
    for number, thread in enumerate((_PROC / str(pid) / "task").iterdir()):
        if number >= _THREADS:
            return
        yield thread


def _bits(status: Path, name: str) -> int:
    """Return a set of signals of a process or a thread, 0 if it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for line in status.read_text("ascii", "replace").splitlines():
            if line.startswith(name):
                return int(line.partition(":")[2], 16)
    return 0


def shortened(stacks: str, lines: int) -> str:
    """Return the first `lines` lines of stacks: the thread that took the signal comes first, then the oldest ones."""
    threads = [text for text in stacks.strip().split("\n\n") if text]
    threads.sort(key=lambda text: not text.startswith("Current thread"))
    ordered = threads[:1] + threads[:0:-1]
    told = "\n".join(ordered).splitlines()
    rest = len(told) - lines
    return "\n".join([*told[:lines], f"… and {rest} lines more"] if rest > 0 else told)
