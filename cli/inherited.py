"""What a process of ours inherits from a careless starter, put right before anything else happens.

Daemons, cron, CI runners and shell scripts start programs with closed streams, blocked signals, or SIGCHLD ignored. A
closed stream's number would go to the next socket, which libuv refuses and every `print` of a library would write to; a
server that has SIGTERM blocked can't be stopped; one that ignores SIGCHLD can't tell how its workers ended.
"""

from __future__ import annotations

import io
import os
import signal
import sys


def settle() -> None:
    """Open the standard streams that are closed, let signals through, and keep the working folder off the module path.

    Children inherit all of it.
    """
    _open_streams()
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _leave_working_folder()
    os.environ.pop("PYTHONINSPECT", None)  # a server or a worker would end at a prompt, and with status 1


def _open_streams() -> None:
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            os.set_inheritable(opened, True)
    sys.stdin = sys.stdin or _nothing("r")
    sys.stdout = sys.stdout or _nothing("w")
    sys.stderr = sys.stderr or _nothing("w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names beyond the locale's characters


def _nothing(mode: str) -> io.TextIOWrapper:
    opened = open(os.devnull, mode, encoding="utf-8")  # noqa: PTH123, SIM115  (lives as long as the process)
    assert isinstance(opened, io.TextIOWrapper)
    return opened


def _leave_working_folder() -> None:
    """Remove empty entries from PYTHONPATH, as `$PYTHONPATH:/more` leaves one: they mean the working folder.

    A token.py or types.py there would be taken for the standard library's. `.` stays, which somebody has written.
    """
    given = os.environ.get("PYTHONPATH")
    if given is None:
        return
    entries = given.split(os.pathsep)
    named = [entry for entry in entries if entry]
    if len(named) == len(entries):
        return
    if named:
        os.environ["PYTHONPATH"] = os.pathsep.join(named)
    else:
        del os.environ["PYTHONPATH"]
    try:
        here = os.getcwd()  # noqa: PTH109  (as Python's own site module gives it)
    except OSError:
        return
    if here in sys.path and here not in map(os.path.abspath, named):
        sys.path.remove(here)
