"""Starts a child of this process. It imports little: the fork server is started by it before all else."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence


def start_process(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    stdin: int = subprocess.DEVNULL,
    pass_fds: tuple[int, ...] = (),
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, whose output is read here. Raises OSError, ValueError.

    This blocks for the milliseconds of a vfork and an exec; asyncio's subprocesses would need a thread for each child.
    """
    return subprocess.Popen(
        command,
        env=dict(environment),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=pass_fds,
        start_new_session=True,
    )
