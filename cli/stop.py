"""The command `torchserve --stop`, which asks the server to end and waits until it has answered what it accepted."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from pathlib import Path

import click

from ..core.pidfd import open_pidfd, send_by_pidfd
from ..core.trusted_file import user
from .pidfile import Holder, holder, pid_path, remove_orphan

WAIT = 60.0  # seconds
_POLL = 0.05  # seconds, where the system has no descriptors of processes


def stop(*, foreground: bool) -> None:
    """Stop the running server. Exit with status 1 if it still runs after WAIT seconds."""
    del foreground  # TorchServe waits only with --foreground; here stopping always waits
    held = holder()
    if held is None:
        remove_orphan()
        click.echo("TorchServe is not currently running.")
        return
    pid = held.pid
    try:
        process = open_pidfd(pid)
        if not held.may_be_signalled():
            click.echo(
                f"{pid_path()} is not believed: it belongs to {user(held.owner)} and names process {pid}, which does"
                " not. Nothing was stopped.",
                err=True,
            )
            sys.exit(1)
        if process is None or not send_by_pidfd(process, signal.SIGTERM):
            _send(held)
    except ProcessLookupError:
        click.echo("TorchServe already stopped.")
        return
    except PermissionError:
        click.echo(f"TorchServe (pid {pid}) belongs to another user and was not stopped.", err=True)
        sys.exit(1)
    click.echo(f"Stopping TorchServe (pid {pid}): accepted requests are finished first ...")
    if not _ends(process, held):
        click.echo(f"Stopping TorchServe took too long: pid {pid} is still there after {WAIT:g} s.", err=True)
        sys.exit(1)
    click.echo("TorchServe has stopped.")


def _send(held: Holder) -> None:
    """Send SIGTERM by the number alone. It is the server's for as long as the pid file is locked.

    Raises ProcessLookupError, PermissionError.
    """
    if holder() != held:
        raise ProcessLookupError
    os.kill(held.pid, signal.SIGTERM)


def _ends(process: int | None, held: Holder) -> bool:
    """Return whether the server has ended within WAIT seconds; a pidfd of it, if there is one, is closed."""
    if process is not None:
        ended, _, _ = select.select([process], [], [], WAIT)
        os.close(process)
        return bool(ended)
    deadline = time.monotonic() + WAIT
    while holder() == held or _is_there(held.pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL)
    return True


def _is_there(pid: int) -> bool:
    """Return whether a process that has let go of its pid file is still ending, as far as /proc tells."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return state[:1] not in (["Z"], ["X"])
