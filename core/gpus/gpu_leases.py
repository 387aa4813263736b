"""GpuLeases: the GPU memory that the servers of this host have promised to their workers, in a folder that they share.

Each server holds a lock there for life: when it has gone, however that came, the kernel lets go of the lock and the
promises are void. No pid has to be trusted, so it works across containers that share the folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import secrets
import stat
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict
from pathlib import Path

from ...scheduler.gpu import Lease
from ..trusted_file import replace_file

log = logging.getLogger(__name__)

PATIENCE = 15.0  # seconds to wait for another server; one that asks a sick driver gives up after 10
_POLL = 0.02
_LONGEST = 1 << 20  # bytes of a file that is read
_ALIVE, _LEASES = ".alive", ".leases"


class GpuLeases:
    """The promises of all servers of a host; `leases` are this server's own. The first one makes the folder."""

    def __init__(self, folder: Path) -> None:
        self.leases: list[Lease] = []
        self._folder = folder
        self._alive: int | None = None
        self._stem = folder / f"{os.getpid()}-{secrets.token_hex(4)}"

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[list[Lease]]:
        """Yield the leases of all other servers; no server of this host promises memory meanwhile.

        Where the folder can't be used, or another server doesn't let go of it for PATIENCE seconds, this server counts
        for itself and says so.
        """
        try:
            lock = await self._lock()
        except OSError as error:
            log.warning("GPU memory is not shared out with other servers of this host: %s: %s", self._folder, error)
            yield []
            return
        try:
            if self._alive is None:
                self._alive = _make(self._stem.with_suffix(_ALIVE))
                fcntl.flock(self._alive, fcntl.LOCK_EX)
            yield list(self._others())
        finally:
            os.close(lock)

    def write(self) -> None:
        """Write `leases` for the other servers. New and larger ones only while `exclusive`."""
        if self._alive is None:  # the folder can't be used, and `exclusive` has said so
            return
        owner = {"pid": os.getpid(), "written": time.time(), "leases": [asdict(lease) for lease in self.leases]}
        try:
            replace_file(self._stem.with_suffix(_LEASES), json.dumps(owner).encode(), 0o644)
        except OSError as error:
            log.warning("Other servers of this host can't see what GPU memory is promised here: %s", error)

    def close(self) -> None:
        """Take back all promises of this server."""
        self.leases.clear()
        if self._alive is not None:
            for suffix in (_LEASES, _ALIVE):
                self._stem.with_suffix(suffix).unlink(missing_ok=True)
            os.close(self._alive)
            self._alive = None

    async def _lock(self) -> int:
        """Return the folder's lock, which closing lets go. Raises OSError."""
        if not self._folder.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._folder.chmod(0o1777)  # servers of other users count here as well
        path = self._folder / "lock"
        try:
            lock = _open(path)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.close(_make(path))
            lock = _open(path)
        deadline = asyncio.get_running_loop().time() + PATIENCE
        try:
            while not _try_lock(lock):
                if asyncio.get_running_loop().time() > deadline:
                    raise TimeoutError(f"another server holds the lock for {PATIENCE:g} s")
                await asyncio.sleep(_POLL)
        except BaseException:
            os.close(lock)
            raise
        return lock

    def _others(self) -> Iterator[Lease]:
        for path in self._folder.glob(f"*{_LEASES}"):
            if path.stem == self._stem.name:
                continue
            try:
                yield from _read(path)
            except (OSError, ValueError, TypeError, KeyError) as error:
                log.warning("%s is passed over: %s", path, error)


def _read(path: Path) -> list[Lease]:
    """Return the leases of one server; if it has gone, none, and its files are removed."""
    if not _is_alive(path.with_suffix(_ALIVE)):
        for suffix in (_LEASES, _ALIVE):
            with contextlib.suppress(FileNotFoundError, PermissionError):  # another user's stay, and mean nothing
                path.with_suffix(suffix).unlink()
        return []
    return [Lease(**lease) for lease in json.loads(_content(path))["leases"]]


def _content(path: Path) -> bytes:
    """Read what another server, of any user, has written. Raises OSError."""
    with os.fdopen(_open(path), "rb") as file:
        return file.read(_LONGEST)


def _is_alive(path: Path) -> bool:
    try:
        file = _open(path)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(file)
    finally:
        os.close(file)


def _make(path: Path) -> int:
    """Create a file that all may read, and so lock, and its owner alone may write."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    os.fchmod(file, 0o644)
    return file


def _open(path: Path) -> int:
    """Open a file of any user, but nothing that could be waited for. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def _try_lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
