"""WorkDir: the server's private folder for unpacked archives: made at start, removed at the end, swept after a kill."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from .errors import InvalidConfig

PREFIX = "torchserve-"
LOCK = "owner.lock"


class WorkDir:
    """A 0700 folder in the temporary directory, locked until this process ends. Raises InvalidConfig."""

    def __init__(self) -> None:
        try:
            sweep()
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
            self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InvalidConfig(f"No folder for unpacked archives can be made (see TMPDIR): {error}") from error

    def remove(self) -> None:
        """Remove the folder. A second call removes what a thread has written meanwhile."""
        shutil.rmtree(self.path, ignore_errors=True)
        lock, self._lock = self._lock, -1
        if lock >= 0:
            os.close(lock)


def sweep() -> None:
    """Remove this user's folders of servers that were killed: those whose lock no process holds."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)
