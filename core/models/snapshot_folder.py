"""SnapshotFolder: the snapshot files on the disk. A file gets its name once it is complete. All methods block."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from ..trusted_file import NotTrusted, check_links, read_trusted
from .snapshot import NAME, Kind, Snapshot, created_at, is_whole, name_of

KEEP = 20  # files; the older ones are removed
_TEMPORARY = ".writing-"
_STALE = 60.0  # seconds without a change after which a temporary file is deleted


class SnapshotFolder:
    """A folder of snapshots, which need not exist yet."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.distrusted: list[str] = []

    def newest(self) -> Path | None:
        """Return the latest complete snapshot, None if there is none. Files that can't be read don't count.

        Neither do files that can't be trusted, since a snapshot can have code run: `distrusted` says which these are,
        and why.
        """
        self.distrusted.clear()
        for _, path in self._by_age(self.distrusted):
            with contextlib.suppress(OSError):
                if is_whole(read_trusted(path)):
                    return path
        return None

    def write(self, snapshot: Snapshot, kind: Kind, now: int) -> Path:
        """Add a file, on the disk when this returns, and remove the oldest beyond KEEP. Raises OSError.

        The new file counts as the newest, even if the clock has been set back.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        check_links(self.path)
        there = self._by_age()
        created = max(now, there[0][0] + 1) if there else now
        while (target := self.path / name_of(kind, created)).exists():
            created += 1
        self._place(snapshot.text(target.name, created).encode(), target)
        self._clear([path for _, path in there[KEEP - 1 :]], now / 1000.0)
        return target

    def _place(self, data: bytes, target: Path) -> None:
        temporary = self.path / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            # O_EXCL and O_NOFOLLOW: the text may hold passwords, which must not go to another user's file.
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # so that the name is on the disk too
        finally:
            os.close(folder)

    def _by_age(self, distrusted: list[str] | None = None) -> list[tuple[int, Path]]:
        """Return (created, path) of each file with a snapshot's name, the newest first.

        Files that can't be trusted are left out, and their reasons appended to `distrusted`.
        """
        found: list[tuple[int, Path]] = []
        with contextlib.suppress(OSError):
            for path in self.path.iterdir():
                if NAME.fullmatch(path.name):
                    try:
                        found.append((created_at(read_trusted(path)) or 0, path))
                    except NotTrusted as error:
                        if distrusted is not None:
                            distrusted.append(f"{path} is not believed: {error.strerror}")
                    except OSError:
                        pass
        return sorted(found, reverse=True)

    def _clear(self, old: list[Path], now: float) -> None:
        for path in self.path.glob(f"{_TEMPORARY}*"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < now - _STALE:
                    old.append(path)
        for path in old:
            with contextlib.suppress(OSError):
                path.unlink()
