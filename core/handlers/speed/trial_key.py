"""The key of what is remembered of a model's trials: its files, what it is run with, and the machine."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path

_WHOLE = 64 << 20  # bytes; of a larger file, pieces are read that lie evenly in it
_PIECES = 16
_PIECE = 1 << 20
_PROCESSOR = ("model name", "flags", "Features", "CPU part")  # lines of /proc/cpuinfo


def trial_key(folder: Path, said: Iterable[object], between: Callable[[], object] = lambda: None) -> str:
    """Return the key for the model in `folder`, and for what else is `said`, such as versions; blocks.

    `between` is called before each piece of a file is read. Raises OSError.
    """
    digest = blake2b(digest_size=20)
    for text in (*said, platform.machine(), *_processor()):
        part = str(text).encode("utf-8", "surrogateescape")
        digest.update(b"%d " % len(part) + part)
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        size = path.stat().st_size
        name = str(path.relative_to(folder)).encode("utf-8", "surrogateescape")
        digest.update(b"%d %d " % (len(name), size) + name)
        with path.open("rb") as file:
            for place in _places(size):
                between()
                _ = file.seek(place)
                digest.update(file.read(_PIECE))
    return digest.hexdigest()


def _places(size: int) -> Iterable[int]:
    """Return where in a file of this size pieces are read."""
    if size <= _WHOLE:
        return range(0, size, _PIECE)
    return [(size - _PIECE) * number // (_PIECES - 1) for number in range(_PIECES)]


def _processor() -> list[str]:
    """Return what the system says of the first processor, nothing where it doesn't."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0].splitlines()
    except OSError:
        return []
    return [line for line in lines if line.startswith(_PROCESSOR)]
