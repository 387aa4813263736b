"""The pid file, which says which process is the server.

The server holds a lock on the file. The kernel releases the lock when the process ends, however it ends, so a stale pid
file is recognized by its missing lock and the pid in it is never used.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from pathlib import Path

from ..core.errors import InvalidConfig


def pid_path() -> Path:
    """Return the path of the pid file, in the temporary folder as TorchServe has it: one server runs per temporary
    folder.

    Raises InvalidConfig if TEMP, TMPDIR or TMP names a folder that does not exist.
    """
    for variable in ("TEMP", "TMPDIR", "TMP"):
        folder = os.environ.get(variable)
        if folder and not Path(folder).is_dir():  # tempfile would use another folder, where --stop would not look
            raise InvalidConfig(f"Invalid temp directory: {folder}, please check {variable} environment variable.")
    try:
        return Path(tempfile.gettempdir()) / ".model_server.pid"
    except FileNotFoundError as error:
        raise InvalidConfig(
            f"No usable temp directory, please check the TMPDIR environment variable: {error}"
        ) from None


def remove_orphan() -> bool:
    """Remove a pid file that no server holds, and return whether there was one."""
    try:
        descriptor = os.open(pid_path(), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(
            descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB
        )  # locked until it is removed, so that no starting server takes it meanwhile
        pid_path().unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def running_pid() -> int | None:
    """Return the pid of the server that holds the pid file, or None if no server does."""
    try:
        descriptor = os.open(pid_path(), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 32).strip()
        return int(text) if text.isdigit() else None
    finally:
        os.close(descriptor)
    return None


class PidFile:
    """A pid file that this process holds until `remove` is called.

    Raises InvalidConfig if another server holds the file, or the file can't be opened.
    """

    def __init__(self) -> None:
        self._path = pid_path()
        self._descriptor = self._lock()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def _lock(self) -> int:
        while True:
            try:
                descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            except OSError as error:
                reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
                raise InvalidConfig(f"The pid file {self._path} can't be used: {reason}") from None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise InvalidConfig(
                    "TorchServe is already running, please use torchserve --stop to stop TorchServe."
                ) from None
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(descriptor).st_ino == self._path.stat().st_ino:
                    return descriptor
            os.close(descriptor)  # its owner removed it between open and flock: try again

    def remove(self) -> None:
        """Delete the pid file and release its lock."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self._descriptor)
