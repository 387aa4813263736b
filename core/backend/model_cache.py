"""ModelCache: the files of models that this node has received, each model's in a folder named by their digest.

The first worker of a model that comes to a node fetches the files, while it holds the lock of their digest; others of
the node wait for that lock and find them complete. A lock is held, shared, for as long as a worker uses the files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from ..payload import Body
from ..trusted_file import check_folder, open_trusted
from ..user_folders import cache_path
from ..wire.files_digest import files_digest
from ..wire.remote_messages import Piece

KEPT = 16  # models that no worker uses; of more the ones that were used longest ago are removed
_LOCK = ".lock"


class BadFiles(Exception):
    """An error of files that did not come as they were named, or that would leave the model's folder."""


class ModelCache:
    """The models' files of one user on one host, in `folder`."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or cache_path("remote-models")

    def obtain(self, digest: str, fetch: Callable[[], Iterator[tuple[Piece, Body]]]) -> tuple[Path, int]:
        """Return the folder of the files with this digest, and the descriptor that keeps them while it is open.

        `fetch` is called if they are not here yet. Blocks. Raises BadFiles, OSError, and what `fetch` raises.
        """
        if not digest.isalnum():
            raise BadFiles(f"{digest!r} is no digest")
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_folder(self._folder)
        lock = open_trusted(self._folder / f"{digest}{_LOCK}", os.O_RDWR | os.O_CREAT)
        try:
            place = self._folder / digest
            fcntl.flock(lock, fcntl.LOCK_SH)
            if not place.exists():
                fcntl.flock(lock, fcntl.LOCK_EX)  # of several that wait for it here, the first one fetches
                if not place.exists():
                    self._receive(place, digest, fetch())
                fcntl.flock(lock, fcntl.LOCK_SH)
            os.utime(place)
            self._sweep()
        except BaseException:
            os.close(lock)
            raise
        return place, lock

    def _receive(self, place: Path, digest: str, pieces: Iterator[tuple[Piece, Body]]) -> None:
        """Write the files beside their place, check them, and then move them there in one step."""
        coming = Path(tempfile.mkdtemp(prefix="coming-", dir=self._folder))
        try:
            if (found := files_digest(_write(coming, pieces))) != digest:
                raise BadFiles(f"the files have the digest {found}, not {digest}: they changed while they were sent")
            coming.rename(place)
        except BaseException:
            shutil.rmtree(coming, ignore_errors=True)
            raise

    def _sweep(self) -> None:
        """Remove models that are not in use, but for the last KEPT, and what broken transfers have left."""
        with contextlib.suppress(OSError):
            places = [each for each in self._folder.iterdir() if each.is_dir()]
            places.sort(key=lambda each: each.stat().st_mtime, reverse=True)
            unused = 0
            for place in places:
                if place.name.startswith("coming-"):
                    continue
                with (self._folder / f"{place.name}{_LOCK}").open("a") as lock:
                    if not _alone(lock.fileno()):
                        continue
                    unused += 1
                    if unused > KEPT:
                        shutil.rmtree(place, ignore_errors=True)


def _write(folder: Path, pieces: Iterator[tuple[Piece, Body]]) -> list[tuple[str, bool, str]]:
    """Write all pieces below `folder`, and return path, executability and SHA-256 of every file."""
    written: list[tuple[str, bool, str]] = []
    path, executable, digest = "", False, hashlib.sha256()
    with contextlib.ExitStack() as stack:
        file = None
        for piece, body in pieces:
            if piece.path != path or piece.end:
                if file is not None:
                    stack.close()
                    written.append((path, executable, digest.hexdigest()))
                if piece.end:
                    return written
                path, executable, digest = piece.path, piece.executable, hashlib.sha256()
                file = stack.enter_context(open(_create(folder, path, executable=executable), "wb"))
            assert file is not None
            digest.update(body)
            file.write(body)
    raise BadFiles("the files were not sent to their end")


def _create(folder: Path, path: str, *, executable: bool) -> int:
    """Create the file that nobody may write to later: other workers of this node, and of other days, rely on it."""
    parts = path.split("/")
    if not all(parts) or {".", ".."} & set(parts) or "\0" in path:
        raise BadFiles(f"{path!r} leads out of the model's folder")
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    return os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o555 if executable else 0o444)


def _alone(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
