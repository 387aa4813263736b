"""Unpacker: writes an archive's entries into one fresh directory, and nothing anywhere else.

Entries are written one by one instead of by the standard library's extraction: names are checked as text, every file is
created anew, no symbolic link is ever made. A link to a file of the archive becomes a second name of that file.

What an archive may cost is bounded by what it unpacks to, not by how well it is packed: weights that are zeros or
sparse shrink a thousandfold.
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
_MAX_CHAIN = 40  # links that lead to links, as many as Linux follows
_ICONS = ("Icon\r", "._Icon\r")  # where macOS keeps a folder's own icon


def is_icon(name: str) -> bool:
    """Return whether `name` is that of a folder's icon on macOS, whose control character is legitimate."""
    return name.rpartition("/")[2] in _ICONS


def safe_parts(name: str, depth: int) -> tuple[str, ...]:
    """Return the components of an entry's name, relative to the archive's root; () is the root itself.

    Raises InvalidArchive for a name that any system could take for a place outside the root. A backslash is a character
    like others otherwise.
    """
    if _UNPRINTABLE.search(name):
        raise InvalidArchive(f"entry name {name!r} holds an unprintable character")
    if name.startswith(("/", "\\")) or _DRIVE.match(name):
        raise InvalidArchive(f"entry name {name!r} is an absolute path")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in name.replace("\\", "/").split("/"):
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
        self._bytes = 0
        self._entries = 0
        self._check_free_at = _FREE_CHECK_EVERY
        self._folders: set[tuple[str, ...]] = {()}
        self._files: set[tuple[str, ...]] = set()
        self._links: dict[tuple[str, ...], tuple[str, ...]] = {}
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
        if self._bytes >= self._check_free_at:
            self._check_free_at = self._bytes + _FREE_CHECK_EVERY
            self.require_free(_FREE_CHECK_EVERY)

    def folder(self, name: str) -> None:
        """Create the folder `name`, and those above it. It may exist already."""
        self._make_folders(safe_parts(name, self.limits.depth), name)

    def file(self, name: str, chunks: Iterable[bytes], *, executable: bool) -> int:
        """Write a file and return its size. A name that occurs again replaces the earlier file, as tools append so."""
        parts = self._room_for(name)
        self._links.pop(parts, None)
        size = 0
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(self._root.joinpath(*parts), flags, 0o700 if executable else 0o600)
        except FileExistsError:
            raise InvalidArchive(f"entry name {name!r} occurs twice, as a file and as a folder") from None
        self._files.add(parts)
        with os.fdopen(fd, "wb", buffering=0) as out:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[out.write(view) :]
                size += len(chunk)
        return size

    def link(self, name: str, target: str, *, hard: bool) -> None:
        """Note that `name` is another name of the file `target`, for finish() to make.

        A hard link's target starts at the archive's root, a symbolic one's at the link's own folder. Raises
        InvalidArchive for a target outside the archive.
        """
        parts = self._room_for(name)
        folder = () if hard else parts[:-1]
        self._links[parts] = self._inside(name, folder, target)

    def finish(self) -> None:
        """Make the links, once all entries are written. Raises InvalidArchive, naming the link that leads nowhere."""
        for parts, first in self._links.items():
            target, steps = first, 0
            while target in self._links and steps < _MAX_CHAIN:
                target, steps = self._links[target], steps + 1
            if target not in self._files:
                kind = "the folder " if target in self._folders else ""
                why = "pack the folder itself" if kind else "no file of the archive"
                raise InvalidArchive(f"entry {'/'.join(parts)!r} is a link to {kind}{'/'.join(target)!r}: {why}")
            self._add_name(parts, target)

    def _inside(self, name: str, folder: tuple[str, ...], target: str) -> tuple[str, ...]:
        """Return the parts of what a link in `folder` leads to."""
        found = list(folder)
        if not target or target.startswith("/") or _UNPRINTABLE.search(target) or len(target) > _MAX_PATH:
            raise InvalidArchive(f"entry {name!r} is a link to {target[:60]!r}, outside the archive")
        for part in target.split("/"):
            if part == "..":
                if not found:
                    raise InvalidArchive(f"entry {name!r} is a link to {target[:60]!r}, outside the archive")
                found.pop()
            elif part not in ("", "."):
                found.append(part)
        return tuple(found)

    def _add_name(self, parts: tuple[str, ...], target: tuple[str, ...]) -> None:
        source, path = self._root.joinpath(*target), self._root.joinpath(*parts)
        if parts in self._folders:
            raise InvalidArchive(f"entry name {'/'.join(parts)!r} occurs twice, as a link and as a folder")
        try:
            os.link(source, path, follow_symlinks=False)
        except OSError:  # the file system has no hard links, or the file has as many as it can have
            self.spend(source.stat().st_size)
            shutil.copy(source, path)

    def _room_for(self, name: str) -> tuple[str, ...]:
        """Make the folders above the entry `name`, remove an earlier file of that name, and return its parts."""
        parts = safe_parts(name, self.limits.depth)
        if not parts:
            raise InvalidArchive(f"entry name {name!r} names no file")
        self._make_folders(parts[:-1], name)
        self._count_entry()
        if parts in self._files:
            self._root.joinpath(*parts).unlink()
            self._files.discard(parts)
        return parts

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
