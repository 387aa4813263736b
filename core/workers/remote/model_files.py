"""ModelFiles: the files of a model as they go to another host: found, named by their content, and read in pieces."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...wire.files_digest import files_digest
from ...wire.remote_messages import Piece

log = logging.getLogger(__name__)

PIECE = 1 << 20  # bytes of a file that one frame carries


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's folder and the files in it, each as (path within the folder, whether it is executable)."""

    folder: Path
    files: tuple[tuple[str, bool], ...]
    digest: str

    def pieces(self) -> Iterator[tuple[Piece, bytes]]:
        """Yield the content of all files in pieces, and the end. Blocks; raises OSError."""
        for path, executable in self.files:
            with (self.folder / path).open("rb") as file:
                data = file.read(PIECE)
                yield Piece(path, executable), data  # an empty file is a piece, too
                while data := file.read(PIECE):
                    yield Piece(path, executable), data
        yield Piece(end=True), b""


def read_model_files(folder: Path) -> ModelFiles:
    """Return the files of `folder`; links to files count as what they lead to. Blocks: all of it is read. Raises
    OSError.
    """
    found = sorted(_walk(folder, ""))
    digest = files_digest((path, executable, _content(folder / path)) for path, executable in found)
    return ModelFiles(folder, tuple(found), digest)


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            path = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if entry.name != "__pycache__":  # another host's Python may be another one
                    yield from _walk(folder / entry.name, f"{path}/")
                continue
            mode = entry.stat().st_mode
            if stat.S_ISREG(mode):
                yield path, bool(mode & stat.S_IXUSR)
            else:
                log.warning("%s stays here: it is no regular file, nor a link to one", folder / entry.name)


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
