"""The name of a model's files by their content, which both sides of a transfer compute. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable


def files_digest(files: Iterable[tuple[str, bool, str]]) -> str:
    """Return the digest of (path, whether it is executable, SHA-256 of the content) of all files, in any order."""
    whole = hashlib.sha256()
    for path, executable, content in sorted(files):
        whole.update(f"{path}\0{int(executable)}\0{content}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()
