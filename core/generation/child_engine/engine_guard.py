"""The process between a worker and its engine: `engine_guard.py --life FD --tell FD --folder PATH -- COMMAND…`.

An engine starts processes of its own, and whoever dies first, none may be left behind. The kernel's parent-death signal
reaches only a direct child, and a process group only those that have not left it. So this process adopts whatever the
engine's processes leave behind (PR_SET_CHILD_SUBREAPER), and ends all of its descendants, wherever they have gone:

- when the worker's end of the first pipe is closed, which happens however the worker ends, SIGKILL included;
- when the engine itself has ended.

If this process is killed itself, the kernel kills the engine (PR_SET_PDEATHSIG), and the worker, which adopts the rest,
ends that.

It runs as a file and without site-packages, so that it starts in milliseconds and needs nothing of the model's Python.
The engine's exit code, or 128 and the number of the signal that killed it, is written to the second pipe at once, and
is this process's own exit code when nothing is left.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import select
import shutil
import signal
import sys
import time
from pathlib import Path

_PDEATHSIG, _SUBREAPER = 1, 36  # of prctl
_KEPT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # it is the worker that ends this process, by its pipe
_NOT_STARTED = 127
_END = 10.0  # seconds until processes that hang in the kernel are given up
_ROUND = 0.02  # seconds between two looks at what is left


def main() -> int:
    """Run the command until it or the worker ends, and return its exit code."""
    arguments = _parse()
    for descriptor in (arguments.life, arguments.tell):
        os.set_inheritable(descriptor, False)
    libc = ctypes.CDLL(None)
    adopt_orphans()
    woken, wakes = os.pipe()
    os.set_blocking(wakes, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in _KEPT:
        signal.signal(number, lambda *_: None)
    try:
        engine = _start(arguments.command, libc)
        code = _watch(engine, arguments.life, woken, arguments.grace)
        with contextlib.suppress(OSError):  # the worker is gone
            os.write(arguments.tell, str(code).encode())
    finally:
        end_descendants()
        shutil.rmtree(arguments.folder, ignore_errors=True)
    return code


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Runs a command that must not outlive another process.")
    parser.add_argument("--life", type=int, required=True, help="a pipe whose other end is the worker's")
    parser.add_argument("--tell", type=int, required=True, help="a pipe to write the command's exit code to")
    parser.add_argument("--folder", required=True, help="removed at the end")
    parser.add_argument("--grace", type=float, default=1.0, help="seconds between SIGTERM and SIGKILL")
    parser.add_argument("command", nargs="+")
    return parser.parse_args()


def _start(command: list[str], libc: ctypes.CDLL) -> int:
    """Start the command and return its pid. A command that can't be started ends with code 127."""
    guard = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    try:
        libc.prctl(_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != guard:
            os._exit(_NOT_STARTED)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, *_KEPT):
            signal.signal(number, signal.SIG_DFL)
        os.execvp(command[0], command)  # noqa: S606  no shell: the words are the model's own configuration
    except OSError as error:
        os.write(2, f"{command[0]} can't be started: {error}\n".encode())
    finally:
        os._exit(_NOT_STARTED)


def _watch(engine: int, life: int, woken: int, grace: float) -> int:
    """Wait for the engine's end or the worker's. Return the engine's exit code."""
    poll = select.poll()
    poll.register(life, select.POLLIN)
    poll.register(woken, select.POLLIN)
    until: float | None = None
    while True:
        left = None if until is None else max(0.0, until - time.monotonic())
        ready = {descriptor for descriptor, _ in poll.poll(None if left is None else left * 1000.0)}
        if woken in ready:
            os.read(woken, 4096)
        code = _reap(engine)
        if code is not None:
            return code
        if life in ready and until is None:  # nothing is ever written to it
            poll.unregister(life)
            until = time.monotonic() + grace
            os.kill(engine, signal.SIGTERM)
        if until is not None and time.monotonic() >= until:
            return 128 + signal.SIGKILL


def _reap(engine: int) -> int | None:
    """Collect processes that have ended, and return the engine's exit code if it is among them."""
    code: int | None = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == engine:
            code = os.waitstatus_to_exitcode(status)
            code = 128 - code if code < 0 else code


def adopt_orphans() -> None:
    """Become the parent of processes whose own parent, below this process, ends before them.

    A sandbox may refuse: then `end_descendants` finds only those whose parents live.
    """
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)


def end_descendants() -> None:
    """Kill all processes below this one, those included that come up meanwhile, and wait for their end."""
    until = time.monotonic() + _END
    while time.monotonic() < until:
        left = _descendants(os.getpid())
        if not left:
            return
        for pid in left:
            with contextlib.suppress(OSError):  # it has ended
                os.kill(pid, signal.SIGKILL)
        time.sleep(_ROUND)


def _descendants(root: int) -> list[int]:
    """Return the pids of all live processes below `root`, parents first."""
    children: dict[int, list[tuple[int, bytes]]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = entry.read_bytes().rpartition(b")")[2].split()[:2]
            children.setdefault(int(parent), []).append((int(entry.parent.name), state))
        except (OSError, ValueError):
            continue  # it has ended meanwhile
    found: list[int] = []
    look = [root]
    while look:
        below = [child for pid in look for child in children.get(pid, ())]
        found += [pid for pid, state in below if state not in (b"Z", b"X")]
        look = [pid for pid, _ in below]
    return found


if __name__ == "__main__":
    sys.exit(main())
