"""open_archive(): opens a .mar, a .tar.gz or a plain folder as an Archive that the rest of the server can trust.

A packed archive is unpacked into a fresh private directory, which is removed again if anything is wrong; a folder is
used in place.
"""

from __future__ import annotations

import errno
import logging
import shutil
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..errors import InvalidArchive
from .limits import Limits
from .manifest import MANIFEST_PATH, Manifest
from .model_yaml import parse_mapping
from .signatures import Sealed
from .unpack import Unpacker, safe_parts
from .untar import untar
from .unzip import unzip

log = logging.getLogger(__name__)

_Opened = TypeVar("_Opened")
_GZIP = b"\x1f\x8b"
# What the standard library raises on broken archives. RuntimeError includes NotImplementedError and RecursionError.
_WRONG = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True)
class Archive:
    """An opened archive. `config` is model-config.yaml, None if the manifest names none.

    `unpacked` is the directory that was made for it, None for a user's own folder.
    """

    source: Path
    manifest: Manifest
    model_dir: Path
    config: dict[str, object] | None
    unpacked: Path | None

    def remove(self) -> None:
        """Delete what was unpacked; a user's own folder stays. May be called again."""
        if self.unpacked is not None:
            delete(self.unpacked)


def open_archive(path: Path, into: Path, *, limits: Limits | None = None, signers: Sequence[Path] = ()) -> Archive:
    """Open the archive or folder at `path`; blocks. A packed one is unpacked into a fresh directory (0700) in `into`,
    if there are `signers` only once one of these public keys is known to have signed it.

    Raises InvalidArchive, naming the file and the cause; nothing is left behind then.
    """
    return open_any(path, into, MANIFEST_PATH, limits or Limits(), _describe, signers)


def open_any(
    path: Path,
    into: Path,
    manifest: str,
    limits: Limits,
    describe: Callable[[Path, Path, Path | None, Limits], _Opened],
    signers: Sequence[Path] = (),
) -> _Opened:
    """Return what `describe` makes of an archive's own path, its root with the file `manifest`, what was unpacked for
    it, if anything was, and the limits. Raises as `open_archive` does.
    """
    try:
        sealed = Sealed(path, signers) if signers else None
        if path.is_dir():
            return describe(path, _root_with(manifest, path), None, limits)
        return _open_packed(path, into, manifest, limits, describe, sealed)
    except InvalidArchive as error:
        raise type(error)(f"{path.name}: {error.message}") from None
    except _WRONG as error:
        raise InvalidArchive(f"{path.name}: {_cause(error)}") from error


def _open_packed(
    path: Path,
    into: Path,
    manifest: str,
    limits: Limits,
    describe: Callable[[Path, Path, Path | None, Limits], _Opened],
    sealed: Sealed | None,
) -> _Opened:
    if not path.is_file():
        raise InvalidArchive("there is no such file")
    into.mkdir(mode=0o700, parents=True, exist_ok=True)
    unpacked = Path(tempfile.mkdtemp(dir=into.resolve()))
    try:
        with path.open("rb") as file:
            unpacker = Unpacker(unpacked, path.stat().st_size, limits)
            magic = file.read(2)
            file.seek(0)
            if magic == _GZIP:
                untar(file, unpacker)
                root = _root_with(manifest, unpacked)
            else:
                unzip(file, unpacker)
                root = _zipped_root(manifest, unpacked)
        if sealed is not None:
            sealed.check()
        return describe(path, root, unpacked, limits)
    except BaseException:
        delete(unpacked)
        raise


def _describe(source: Path, model_dir: Path, unpacked: Path | None, limits: Limits) -> Archive:
    manifest = Manifest.read(model_dir, limits.manifest_bytes)
    if manifest.requirements_file is not None:
        _inside(model_dir, "requirementsFile", manifest.requirements_file, limits)  # it may be absent if not installed
    return Archive(
        source=source,
        manifest=manifest,
        model_dir=model_dir.absolute(),
        config=_config(model_dir, manifest.config_file, limits),
        unpacked=unpacked,
    )


def _zipped_root(manifest: str, folder: Path) -> Path:
    """Return the model's folder in an unpacked zip. A sub-folder is one only if it has a manifest: the model's folder
    was zipped, instead of what is in it.
    """
    root = _root_with(manifest, folder)
    return root if (root / manifest).is_file() else folder


def _root_with(manifest: str, folder: Path) -> Path:
    """Return the model's folder: `folder`, or its only sub-folder if it holds nothing else, as in a .tar.gz."""
    if (folder / manifest).is_file():
        return folder
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.name != "__MACOSX"]
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def _config(model_dir: Path, name: str | None, limits: Limits) -> dict[str, object] | None:
    if name is None:
        return None
    path = _inside(model_dir, "configFile", name, limits)
    if not path.is_file():
        raise InvalidArchive(f"{MANIFEST_PATH} names the configFile {name!r}, which is not there")
    with path.open("rb") as file:
        data = file.read(limits.yaml_bytes + 1)
    try:
        return parse_mapping(data, limits)
    except InvalidArchive as error:
        raise InvalidArchive(f"{name}: {error.message}") from None


def _inside(model_dir: Path, key: str, name: str, limits: Limits) -> Path:
    """Return the path of a file that the manifest names by `key`. Raises InvalidArchive if it leads elsewhere."""
    try:
        return model_dir.joinpath(*safe_parts(name, limits.depth))
    except InvalidArchive as error:
        raise InvalidArchive(f"{MANIFEST_PATH} names the {key} {name!r}: {error.message}") from None


def _cause(error: Exception) -> str:
    # EINVAL is no fault of the disk: zipfile seeks to wherever a corrupt directory points.
    if isinstance(error, OSError) and error.strerror and error.errno != errno.EINVAL:
        return error.strerror
    return f"it is corrupt or cut short: {' '.join(str(error).split()) or type(error).__name__}"


def delete(folder: Path) -> None:
    """Delete an unpacked archive. What can't be deleted is logged."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        log.warning("Could not delete all of %s", folder)
