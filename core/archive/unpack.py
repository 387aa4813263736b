"""Unpacker: writes an archive's entries into one fresh directory, and nothing anywhere else.

Entries are written one by one instead of by the standard library's extraction: names are checked as text, every file is
created anew, links are refused.
"""

from __future__ import annotations

import os
import re
import shutil
from typing import TYPE_CHECKING

from ..errors import InvalidArchive

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .limits import Limits

CHUNK = 256 << 10
_FREE_CHECK_EVERY = 16 << 20
_DRIVE = re.compile(r"[A-Za-z]:")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_MAX_NAME = 255
_MAX_PATH = 1024


def safe_parts(name: str, depth: int) -> tuple[str, ...]:
    """Return the components of an entry's name, relative to the archive's root; () is the root itself.

    Raises InvalidArchive for a name that any system could take for a place outside the root.
    """
    if _UNPRINTABLE.search(name):
        raise InvalidArchive(f"entry name {name!r} holds an unprintable character")
    if "\\" in name:
        raise InvalidArchive(f"entry name {name!r} holds a backslash")
    if name.startswith("/") or _DRIVE.match(name):
        raise InvalidArchive(f"entry name {name!r} is an absolute path")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise InvalidArchive(f"entry name {name!r} leads outside the archive")
    if len(os.fsencode(name)) > _MAX_PATH or any(len(os.fsencode(part)) > _MAX_NAME for part in parts):
        raise InvalidArchive(f"entry name {name[:60]!r}… is too long")
    if len(parts) > depth:
        raise InvalidArchive(f"entry name {name[:60]!r} is nested more than {depth} deep")
    return parts


class Unpacker:
    """A writer of entries into `root`, which must be empty and private. `packed` is the archive's own size in bytes."""

    def __init__(self, root: Path, packed: int, limits: Limits) -> None:
        self.limits = limits
        self._root = root
        self._packed = packed
        self._bytes = 0
        self._entries = 0
        self._check_free_at = _FREE_CHECK_EVERY
        self._folders: set[tuple[str, ...]] = {()}
        self.require_free(packed)

    def require_free(self, count: int) -> None:
        """Raise InvalidArchive unless `count` bytes fit on the disk."""
        free = shutil.disk_usage(self._root).free
        if free - self.limits.free_bytes < count:
            raise InvalidArchive(f"no space left to unpack it: {free} bytes are free, {count} more are needed")

    def spend(self, count: int) -> None:
        """Account for `count` unpacked bytes, before they are written. Raises InvalidArchive beyond a cap."""
        limits = self.limits
        self._bytes += count
        if self._bytes > limits.total_bytes:
            raise InvalidArchive(f"it unpacks to more than {limits.total_bytes} bytes")
        if self._bytes > limits.ratio_floor and self._bytes > limits.ratio * self._packed:
            raise InvalidArchive(f"it unpacks to more than {limits.ratio} times its {self._packed} bytes")
        if self._bytes >= self._check_free_at:
            self._check_free_at = self._bytes + _FREE_CHECK_EVERY
            self.require_free(_FREE_CHECK_EVERY)

    def folder(self, name: str) -> None:
        """Create the folder `name`, and those above it. It may exist already."""
        self._make_folders(safe_parts(name, self.limits.depth), name)

    def file(self, name: str, chunks: Iterable[bytes], *, executable: bool) -> int:
        """Write a new file and return its size. Raises InvalidArchive if the name is taken."""
        parts = safe_parts(name, self.limits.depth)
        if not parts:
            raise InvalidArchive(f"entry name {name!r} names no file")
        self._make_folders(parts[:-1], name)
        self._count_entry()
        size = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self._root.joinpath(*parts), flags, 0o700 if executable else 0o600)
        except FileExistsError:
            raise InvalidArchive(f"entry name {name!r} occurs twice") from None
        with os.fdopen(fd, "wb", buffering=0) as out:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[out.write(view) :]
                size += len(chunk)
        return size

    def _make_folders(self, parts: tuple[str, ...], name: str) -> None:
        if parts in self._folders:
            return
        self._make_folders(parts[:-1], name)
        self._count_entry()
        try:
            self._root.joinpath(*parts).mkdir(mode=0o700)
        except FileExistsError:
            raise InvalidArchive(f"entry name {name!r} needs a folder where a file is") from None
        self._folders.add(parts)

    def _count_entry(self) -> None:
        self._entries += 1
        if self._entries > self.limits.entries:
            raise InvalidArchive(f"it holds more than {self.limits.entries} entries")
