"""Finding the archive that a registration's `url` names: in the model store, as a folder, or at an allowed URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from ..errors import ArchiveNotFound
from .allowed_urls import AllowedUrls
from .fetch import fetch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .fetch import DownloadLimits

_FETCHED = re.compile(r"(https?|file)://", re.IGNORECASE)
_SUFFIXES = (".mar", ".model", ".tar.gz")


@dataclass(frozen=True, slots=True)
class Located:
    """Where an archive is. `downloaded`: it was put into the store for this registration and goes with it."""

    url: str
    path: Path
    downloaded: bool = False


def locate(
    url: str, store: Path | None, allowed_urls: Sequence[str] | None, limits: DownloadLimits | None = None
) -> Located:
    """Finds the archive at `url`, downloading it if need be; blocks.

    `allowed_urls` are regular expressions. Raises ArchiveNotFound, ArchiveExists (the download's name is taken),
    DownloadFailed, InvalidConfig.
    """
    if not url.strip():
        raise ArchiveNotFound("empty url")
    # Before anything is read: a refusal must not leave a trace, nor tell whether a file exists.
    if ".." in url or ".." in unquote(url):
        raise ArchiveNotFound(f"Relative path is not allowed in url: {url}")
    if _FETCHED.match(url):
        return Located(url, fetch(url, _require(store), AllowedUrls(allowed_urls), limits), downloaded=True)
    try:
        path = _on_disk(Path(url), store)
    except (OSError, ValueError):  # a name too long, or with a NUL
        path = None
    if path is None:
        raise ArchiveNotFound(f"Model not found at: {url}")
    return Located(url, path)


def list_store(store: Path) -> tuple[str, ...]:
    """What `--models all` loads, as names in the store: every archive and folder that isn't hidden. Raises OSError."""
    return tuple(
        sorted(
            path.name
            for path in store.iterdir()
            if not path.name.startswith(".") and (path.is_dir() or (path.name.endswith(_SUFFIXES) and path.is_file()))
        )
    )


def default_name(path: Path) -> str:
    """The name of a model whose manifest gives none, made from its file's name."""
    name = path.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return re.sub(r"\W|^_", "_", name, flags=re.ASCII)


def _require(store: Path | None) -> Path:
    if store is None:
        raise ArchiveNotFound("Model store has not been configured.")
    return store


def _on_disk(name: Path, store: Path | None) -> Path | None:
    if name.is_absolute():
        inside = store is not None and name.is_relative_to(store.absolute())
        return name if name.is_dir() or (inside and name.is_file()) else None
    path = _require(store) / name
    hidden = not name.parts or name.parts[-1].startswith(".")
    return path if not hidden and (path.is_dir() or path.is_file()) else None
