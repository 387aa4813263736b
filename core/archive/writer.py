"""pack(): writes a model archive with the layout of torch-model-archiver 0.12, entries in a fixed order.

The archive appears under its final name complete, or not at all. Standard library only.
"""

from __future__ import annotations

import gzip
import io
import logging
import os
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from glob import glob
from pathlib import Path
from typing import Literal, cast

from ..model_name import why_not
from ..version import __version__
from .atomic_write import atomic_write
from .manifest import MANIFEST_PATH, Manifest
from .module_handler import is_module, package_of

log = logging.getLogger(__name__)

ArchiveFormat = Literal["default", "zip-store", "tgz", "no-archive"]
Runtime = Literal["python", "python3", "LSP"]

BUILT_IN_HANDLERS = (
    "base_handler",
    "text_classifier",
    "image_classifier",
    "object_detector",
    "image_segmenter",
    "dali_image_classifier",
    "vllm_handler",
    "trt_llm_handler",
    "child_engine",
    "language_model",
    "text_embedder",
)
MODEL_NAME = r"[A-Za-z0-9][A-Za-z0-9_\-.]*"
SUFFIXES: dict[ArchiveFormat, str] = {"default": ".mar", "zip-store": ".mar", "tgz": ".tar.gz", "no-archive": ""}
_SKIPPED_FOLDERS = ("__pycache__", "__MACOSX")
_WILDCARD = re.compile(r"[*?\[]")


class PackError(Exception):
    """An archive that can't be made; the text is one line that names the flag's value and the cause."""


class MissingFile(PackError, FileNotFoundError):
    """A PackError of a file that isn't there. Scripts expect FileNotFoundError, which torch-model-archiver lets out."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The contents of an archive. Paths are relative to the working directory.

    `handler` is a built-in name, a .py file, or `file:function`, with the file's suffix or without; or a module in a
    package, `package.module` or `package.module:function`, whose whole package is packed. `extra_files` are files,
    folders (their contents go to the archive's root) and wildcards.
    """

    model_name: str
    version: str
    handler: str
    serialized_file: str | None = None
    model_file: str | None = None
    extra_files: Sequence[str] = ()
    requirements_file: str | None = None
    config_file: str | None = None
    runtime: Runtime = "python"


def pack(recipe: Recipe, export_path: Path, *, archive_format: ArchiveFormat = "default", force: bool = False) -> Path:
    """Write the archive into the folder `export_path`, which is made if missing, and return its path.

    Raises PackError for a bad name or version, a missing file, or an existing output without `force`; OSError.
    """
    check_model_name(recipe.model_name)
    wrong = why_not(recipe.version)
    if wrong:
        raise PackError(f"Model version {recipe.version!r} can't be registered: {wrong}")
    target = export_path / (recipe.model_name + SUFFIXES[archive_format])
    if export_path.exists() and not export_path.is_dir():
        raise PackError(f"The export path {export_path} is not a folder")
    check_overwrite(target, force=force)
    handler, files = _collect(recipe)
    manifest = _manifest(recipe, handler).to_json()
    if not export_path.exists():
        export_path.mkdir(parents=True)
        log.warning("Created the export path %s", export_path)
    with atomic_write(target, force=force) as temporary:
        if archive_format == "no-archive":
            _write_folder(temporary, files, manifest)
        elif archive_format == "tgz":
            _write_tar(temporary, recipe.model_name, files, manifest)
        else:
            _write_zip(temporary, files, manifest, stored=archive_format == "zip-store")
    return target


def describe_recipe(recipe: Recipe) -> Manifest:
    """Return the manifest of the archive that pack() would write. Raises PackError for a handler that names no file."""
    return _manifest(recipe, _handler(recipe)[0])


def check_model_name(name: str) -> None:
    """Raise PackError for a name that torch-model-archiver refuses."""
    if not re.fullmatch(MODEL_NAME, name):
        raise PackError(f"Model name {name!r} does not match {MODEL_NAME}")


def check_overwrite(target: Path, *, force: bool) -> None:
    """Raise PackError for an archive that is in the way, or warn of it with `force`."""
    if not target.exists():
        return
    if not force:
        raise PackError(f"{target} already exists; use --force or -f to overwrite it")
    log.warning("Overwriting %s", target)


def _manifest(recipe: Recipe, handler: str) -> Manifest:
    def name(path: str | None) -> str | None:
        return Path(path).name if path else None

    return Manifest(
        model_name=recipe.model_name,
        model_version=recipe.version,
        handler=handler,
        serialized_file=name(recipe.serialized_file),
        model_file=name(recipe.model_file),
        requirements_file=name(recipe.requirements_file),
        config_file=name(recipe.config_file),
        runtime=recipe.runtime,
        archiver_version=__version__,
        created_on=datetime.now().astimezone().strftime("%d/%m/%Y %H:%M:%S"),
    )


def _collect(recipe: Recipe) -> tuple[str, list[tuple[str, Path]]]:
    """Return the manifest's handler, and what the archive holds: (name in the archive, file), sorted by name."""
    files: dict[str, Path] = {}
    for extra in recipe.extra_files:
        for name, path in _expand(extra.strip()):
            _add(files, name, path)
    handler, source = _handler(recipe)
    if source is None and is_module(module := handler.partition(":")[0]):
        try:
            package = package_of(module, files)
        except FileNotFoundError as error:
            raise MissingFile(str(error)) from None
        for name, path in _walk(package, f"{package.name}/") if package else ():
            _add(files, name, path)
    single = (recipe.serialized_file, recipe.model_file, recipe.requirements_file, recipe.config_file, source)
    for path in (Path(name) for name in single if name):
        if not path.is_file():
            if path.is_dir():
                raise PackError(f"{path} is a folder, not a file")
            raise MissingFile(f"There is no file {path}")
        _add(files, path.name, path)
    files.pop(MANIFEST_PATH, None)
    return handler, sorted(files.items())


def _add(files: dict[str, Path], name: str, path: Path) -> None:
    previous = files.get(name)
    if previous is not None and not previous.samefile(path):
        log.warning("%s replaces %s: both would be %s in the archive", path, previous, name)
    files[name] = path


def _handler(recipe: Recipe) -> tuple[str, str | None]:
    """Return the manifest's value, and the file to copy, None for a built-in handler and a module."""
    if recipe.handler in BUILT_IN_HANDLERS:
        return recipe.handler, None
    suffix = ".so" if recipe.runtime == "LSP" else ".py"
    file, colon, function = recipe.handler.rpartition(":")
    if not colon:
        file, function = function, ""
    stem = file.removesuffix(suffix)
    if not Path(stem).name:
        raise PackError(f"The handler {recipe.handler!r} names no file")
    if recipe.runtime != "LSP" and is_module(stem) and not Path(stem + suffix).exists():
        return recipe.handler, None
    # torch-model-archiver fails on "file.py:function"; "file:function" is the form that every server knows.
    value = f"{Path(stem).name}:{function}" if colon else Path(file).name
    return value, stem + suffix


def _expand(extra: str) -> Iterator[tuple[str, Path]]:
    if not extra:
        return
    if not os.path.lexists(extra) and _WILDCARD.search(extra):
        matches = sorted(glob(extra))  # noqa: PTH207  Path.glob takes no absolute pattern, and finds hidden files
        if not matches:
            log.warning("No file matches %s", extra)
    else:
        matches = [extra]
    for match in matches:
        path = Path(match)
        if path.is_dir():
            yield from _walk(path)
        elif path.is_file():
            yield path.name, path
        else:
            raise MissingFile(f"There is no file {match}")


def _walk(folder: Path, prefix: str = "", above: tuple[Path, ...] = ()) -> Iterator[tuple[str, Path]]:
    """Yield the files below `folder`, also through links, but not round a circle of them."""
    here = folder.resolve()
    if here in above:
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if not path.name.startswith(".") and path.name not in _SKIPPED_FOLDERS:
                yield from _walk(path, f"{prefix}{path.name}/", (*above, here))
        elif path.is_file():
            yield prefix + path.name, path
        else:
            raise PackError(f"{path} is a broken link or no plain file")


def _write_zip(path: Path, files: list[tuple[str, Path]], manifest: bytes, *, stored: bool) -> None:
    method = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "x", method, strict_timestamps=False) as archive:
        for name, source in files:
            archive.write(source, name)
        archive.writestr(MANIFEST_PATH, manifest)


def _write_tar(path: Path, top: str, files: list[tuple[str, Path]], manifest: bytes) -> None:
    with (
        path.open("xb") as raw,
        gzip.GzipFile(filename="", fileobj=raw, mode="wb") as zipped,
        tarfile.open(fileobj=cast("io.BufferedIOBase", zipped), mode="w", dereference=True) as archive,
    ):
        for name, source in files:
            with source.open("rb") as content:
                info = archive.gettarinfo(arcname=f"{top}/{name}", fileobj=content)
                info.uid = info.gid = 0
                info.uname = info.gname = ""
                archive.addfile(info, content)
        info = tarfile.TarInfo(f"{top}/{MANIFEST_PATH}")
        info.size = len(manifest)
        archive.addfile(info, io.BytesIO(manifest))


def _write_folder(path: Path, files: list[tuple[str, Path]], manifest: bytes) -> None:
    path.mkdir()
    for name, source in files:
        target = path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    target = path / MANIFEST_PATH
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(manifest)
