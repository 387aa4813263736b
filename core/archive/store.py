"""Finds the archive that a registration's `url` names: in the model store, as a folder, or at an allowed URL."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from ..errors import ArchiveNotFound

log = logging.getLogger(__name__)

_SEPARATORS = re.compile(r"[/\\]")
_FETCHED = re.compile(r"(https?|file|s3|gs)://", re.IGNORECASE)
LONGEST_URL = 8192  # characters; a signed one of S3 has about 2,000
_SUFFIXES = (".mar", ".model", ".tar.gz")


@dataclass(frozen=True, slots=True)
class Located:
    """An archive's place. `downloaded` says that it was put into the store for this registration and is removed with
    it.

    `name` finds it again without a download.
    """

    url: str
    path: Path
    name: str
    downloaded: bool = False


def is_fetched(url: str) -> bool:
    """Return whether `url` has to be downloaded. Raises ArchiveNotFound for what is never read.

    This must be called before anything is read: a refusal must not tell whether a file exists.
    """
    if not url.strip():
        raise ArchiveNotFound("empty url")
    if len(url) > LONGEST_URL:
        raise ArchiveNotFound(f"The url has {len(url)} characters; at most {LONGEST_URL} are accepted")
    if ".." in url or ".." in unquote(url):
        raise ArchiveNotFound(f"Relative path is not allowed in url: {url}")
    return _FETCHED.match(url) is not None


def locate(url: str, store: Path | None) -> Located:
    """Find an archive that need not be downloaded; blocks. Raises ArchiveNotFound.

    A path that leads to nothing in the store is looked for by its last part, as TorchServe looks for every path: users
    name archives by the place where they were made, on Windows too.
    """
    try:
        path = _on_disk(Path(url), store) or _by_last_part(url, store)
    except (OSError, ValueError):  # the name is too long, or has a NUL
        path = None
    if path is None:
        raise ArchiveNotFound(f"Model not found at: {url}")
    return Located(url, path, url)


def list_store(store: Path) -> tuple[str, ...]:
    """Return the names in the store that `--models all` loads: every archive and folder that isn't hidden.

    `lost+found` is left out, which a file system has if the store is the root of a volume. Raises OSError.
    """
    return tuple(
        sorted(
            path.name
            for path in store.iterdir()
            if not path.name.startswith(".")
            and path.name != "lost+found"
            and (path.is_dir() or (path.name.endswith(_SUFFIXES) and path.is_file()))
        )
    )


def stored(name: str, store: Path | None) -> str:
    """Return the entry of the store that is the archive of the model `name`; blocks. Raises ArchiveNotFound."""
    wanted = {name, *(f"{name}{suffix}" for suffix in _SUFFIXES)}
    found = next((entry for entry in list_store(required(store)) if entry in wanted), None)
    if found is None:
        # Triton's clients look for "failed to load".
        raise ArchiveNotFound(f"Model not found: failed to load: the model store has no archive of model {name[:80]}.")
    return found


def default_name(path: Path) -> str:
    """Return the name of a model whose manifest gives none, made from the archive's file name."""
    name = path.name
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return re.sub(r"\W|^_", "_", name, flags=re.ASCII)


def required(store: Path | None) -> Path:
    """Return the model store. Raises ArchiveNotFound if there is none."""
    if store is None:
        raise ArchiveNotFound("Model store has not been configured.")
    return store


def _by_last_part(url: str, store: Path | None) -> Path | None:
    name = _SEPARATORS.split(url)[-1]
    if store is None or not name or name == url or "://" in url:
        return None
    path = _on_disk(Path(name), store)
    if path is not None:
        log.warning("%s is not read: archives are taken from the model store, which has a %s", url, name)
    return path


def _on_disk(name: Path, store: Path | None) -> Path | None:
    if name.is_absolute():
        inside = store is not None and name.is_relative_to(store.absolute())
        return name if name.is_dir() or (inside and name.is_file()) else None
    path = required(store) / name
    hidden = not name.parts or name.parts[-1].startswith(".")
    return path if not hidden and (path.is_dir() or path.is_file()) else None
