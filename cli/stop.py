"""The command `torchserve --stop`, which asks the server to end and waits until it has answered what it accepted."""

from __future__ import annotations

import os
import select
import signal
import sys

import click

from ..core.trusted_file import user
from .pidfile import holder, pid_path, remove_orphan

WAIT = 60.0  # seconds


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
        process = os.pidfd_open(pid)
        if not held.may_be_signalled():
            click.echo(
                f"{pid_path()} is not believed: it belongs to {user(held.owner)} and names process {pid}, which does"
                " not. Nothing was stopped.",
                err=True,
            )
            sys.exit(1)
        signal.pidfd_send_signal(process, signal.SIGTERM)
    except ProcessLookupError:
        click.echo("TorchServe already stopped.")
        return
    except PermissionError:
        click.echo(f"TorchServe (pid {pid}) belongs to another user and was not stopped.", err=True)
        sys.exit(1)
    click.echo(f"Stopping TorchServe (pid {pid}): accepted requests are finished first ...")
    ended, _, _ = select.select([process], [], [], WAIT)
    os.close(process)
    if not ended:
        click.echo(f"Stopping TorchServe took too long: pid {pid} is still there after {WAIT:g} s.", err=True)
        sys.exit(1)
    click.echo("TorchServe has stopped.")
