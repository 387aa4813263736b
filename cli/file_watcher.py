"""Which files of a folder have changed, found by reading the folder again; it needs neither a daemon nor inotify."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

FileStates = Mapping[str, tuple[int, int, int]]  # path below the folder -> inode, time of the last change, size

_PASSED_OVER = frozenset({"__pycache__", "logs", "node_modules", "venv", "build", "dist"})
_MOST = 20_000  # files that are watched at most


def file_states(folder: Path) -> FileStates:
    """Return the state of each file below `folder`, except hidden entries, caches, logs and virtual environments.

    Only the first _MOST files are read.
    """
    seen: dict[str, tuple[int, int, int]] = {}
    for path, status in _files(folder):
        seen[os.path.relpath(path, folder)] = (status.st_ino, status.st_mtime_ns, status.st_size)
        if len(seen) >= _MOST:
            break
    return seen


def changed_files(before: FileStates, now: FileStates) -> list[str]:
    """Return the sorted names of the files that were added, removed or changed."""
    return sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))


def _files(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    waiting = [str(folder)]
    while waiting:
        try:
            entries = sorted(os.scandir(waiting.pop()), key=lambda entry: entry.name)
        except OSError:
            continue  # it was removed after its parent was read
        for entry in entries:
            if entry.name.startswith(".") or entry.name in _PASSED_OVER or entry.name.endswith((".pyc", "~", ".swp")):
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file():
                    yield entry.path, entry.stat()
            except OSError:
                continue
