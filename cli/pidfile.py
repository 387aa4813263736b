"""The file that says which process is the server, held by a lock that ends with it: no stale pid is ever believed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from pathlib import Path

from ..core.errors import InvalidConfig


def pid_path() -> Path:
    """TorchServe's place for it; one server per temp folder. Raises InvalidConfig if the folder named is not there."""
    for variable in ("TEMP", "TMPDIR", "TMP"):
        folder = os.environ.get(variable)
        if folder and not Path(folder).is_dir():  # another one would be taken in silence, and --stop would not find it
            raise InvalidConfig(f"Invalid temp directory: {folder}, please check {variable} environment variable.")
    try:
        return Path(tempfile.gettempdir()) / ".model_server.pid"
    except FileNotFoundError as error:
        raise InvalidConfig(
            f"No usable temp directory, please check the TMPDIR environment variable: {error}"
        ) from None


def remove_orphan() -> bool:
    """Remove a pid file that no server holds; whether there was one."""
    try:
        descriptor = os.open(pid_path(), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until it is gone: a start in between sees it
        pid_path().unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def running_pid() -> int | None:
    """The pid of the server that holds the pid file, None if no server does."""
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
    """Held by the running server. Raises InvalidConfig if another one runs, or the file can't be had."""

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
            os.close(descriptor)  # its owner removed it between our two steps

    def remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self._descriptor)
