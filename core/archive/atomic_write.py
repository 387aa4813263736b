"""atomic_write(): write a file or folder that appears under its final name complete, or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_write(target: Path, *, force: bool) -> Iterator[Path]:
    """Yield a temporary path beside `target` to write to, and rename it to `target` afterwards.

    If the block raises, what it has written is deleted. An existing file is replaced either way; `force` replaces a
    folder too, or a file by a folder.
    """
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.tmp")
    try:
        yield temporary
        if force and os.path.lexists(target) and (target.is_dir() or temporary.is_dir()):
            old = temporary.with_suffix(".old")
            target.rename(old)
            temporary.rename(target)
            _delete(old)
        else:
            temporary.replace(target)
    except BaseException:
        _delete(temporary)
        raise


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
