"""The pid file, which says which process is the server.

The server holds a lock on the file. The kernel releases the lock when the process ends, however it ends, so a stale pid
file is recognized by its missing lock and the pid in it is never used. The temporary folder is everybody's: a FIFO or a
link that another user has put in the file's place is neither waited for nor followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InvalidConfig
from ..core.trusted_file import NotTrusted, open_trusted, user

_ADVICE = "Remove it, or set TMPDIR to a folder of your own."
_UIDS = re.compile(r"^Uid:\s*(\d+)\s+(\d+)", re.MULTILINE)


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


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that a locked pid file names, and the user that the file belongs to."""

    pid: int
    owner: int

    def may_be_signalled(self) -> bool:
        """Return whether the file's owner could signal this process, so that root is not made to do it for them.

        To be asked with a pidfd of the process open: its number can't go to another process unnoticed then.
        """
        if self.owner in {0, os.geteuid()}:
            return True
        try:
            found = _UIDS.search(Path(f"/proc/{self.pid}/status").read_text())
        except OSError:
            return False
        return found is not None and {int(found[1]), int(found[2])} == {self.owner}


def holder() -> Holder | None:
    """Return who holds the pid file, None if no process does. A link, a FIFO or a folder in its place holds nothing.

    Raises InvalidConfig where there are no locks.
    """
    descriptor = _open(os.O_RDONLY)
    if descriptor is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        found = os.fstat(descriptor)
        text = os.read(descriptor, 32).strip()
        everybody = found.st_mode & stat.S_IWOTH  # wrote it, for all we know
        return Holder(int(text), found.st_uid) if text.isdigit() and not everybody else None
    except OSError as error:
        raise _no_locks(error) from None
    finally:
        os.close(descriptor)
    return None


def running_pid() -> int | None:
    """Return the pid of the server that holds the pid file, None if no server does."""
    held = holder()
    return held.pid if held is not None else None


def check_none_runs() -> None:
    """Raise InvalidConfig if a server holds the pid file."""
    held = holder()
    if held is None:
        return
    if held.owner not in {0, os.geteuid()}:
        raise InvalidConfig(
            f"A process of {user(held.owner)} holds {pid_path()}."
            " Set TMPDIR to a folder of your own to start beside it."
        )
    raise InvalidConfig("TorchServe is already running, please use torchserve --stop to stop TorchServe.")


def remove_orphan() -> bool:
    """Remove a pid file that no server holds, and return whether there was one."""
    descriptor = _open(os.O_RDWR)
    if descriptor is None:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held until it is gone, so that no start takes it
        pid_path().unlink(missing_ok=True)
    except OSError:  # held; or another user's, in a folder where each removes their own
        return False
    finally:
        os.close(descriptor)
    return True


class PidFile:
    """A pid file that this process holds until `remove` is called.

    Raises InvalidConfig if another server holds the file, or the file can't be opened or is not to be believed.
    """

    def __init__(self) -> None:
        self._path = pid_path()
        self._descriptor = self._lock()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def _lock(self) -> int:
        while True:
            try:
                descriptor = open_trusted(self._path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                check_none_runs()
                advice = f". {_ADVICE}" if isinstance(error, NotTrusted) else ""
                raise InvalidConfig(f"The pid file {self._path} can't be used: {error.strerror}{advice}") from None
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                check_none_runs()
                raise InvalidConfig(f"The pid file {self._path} is locked by another process. {_ADVICE}") from None
            except OSError as error:
                os.close(descriptor)
                raise _no_locks(error) from None
            with contextlib.suppress(FileNotFoundError):
                if os.fstat(descriptor).st_ino == self._path.stat().st_ino:
                    return descriptor
            os.close(descriptor)  # its owner removed it between open and flock: try again

    def remove(self) -> None:
        """Delete the pid file and release its lock."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        os.close(self._descriptor)


def _no_locks(error: OSError) -> InvalidConfig:
    return InvalidConfig(
        f"The pid file {pid_path()} can't be locked: {error.strerror}. Set TMPDIR to a folder whose file system has"
        " locks; a sandbox must allow flock."
    )


def _open(flags: int) -> int | None:
    """Return a descriptor of what is in the pid file's place, None unless that is a regular file."""
    try:
        descriptor = os.open(pid_path(), flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None
