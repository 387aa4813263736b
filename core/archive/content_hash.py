"""A hash of what was unpacked from an archive: servers that have the same one serve the same model."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

_PIECE = 1 << 20
_NOT_OF_THE_ARCHIVE = "__pycache__"  # a worker's


def content_hash(folder: Path) -> bytes:
    """Return a hash of the names and contents of all files in `folder`; blocks."""
    digest = blake2b(digest_size=32)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        place = path.relative_to(folder)
        if _NOT_OF_THE_ARCHIVE in place.parts:
            continue
        name = str(place).encode("utf-8", "surrogateescape")
        digest.update(b"%d %d " % (len(name), path.stat().st_size) + name)
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    return digest.digest()
