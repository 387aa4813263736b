"""folder_archive(): turns a folder, or a handler's file, into an unpacked model: links to its files, a manifest, a
yaml.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from ..errors import InvalidArchive
from .handler_source import BUILT_IN, find_handler
from .manifest import MANIFEST_PATH, Manifest
from .model_yaml import parse_mapping
from .store import default_name

CONFIG = "model-config.yaml"
WEIGHTS = (".pt", ".pth", ".pt2", ".onnx", ".so")
_OTHERS = frozenset({"source_vocab.pt"})


@dataclass(frozen=True, slots=True)
class FolderArchive:
    """A model made from a folder. The server loads `folder`; its author changes the files in `watched`."""

    name: str
    folder: Path
    watched: Path
    manifest: Manifest


def folder_archive(
    source: Path, into: Path, *, handler: str | None = None, defaults: dict[str, object] | None = None
) -> FolderArchive:
    """Lay out the model at `source` in a new folder below `into`.

    A folder that has a manifest keeps it. Otherwise the handler is the file that was named, or the only one that
    defines an entry point; the weights are the only file of that kind; and model.py has the model's class. `defaults`
    are keys for model-config.yaml, used where it does not set them.

    Raises InvalidArchive, saying what could not be determined.
    """
    if not source.exists():
        raise InvalidArchive(f"{source}: there is no such file or folder")
    if source.is_file() and source.suffix != ".py":
        raise InvalidArchive(f"{source.name} is neither a folder nor a handler's .py file")
    watched = (source if source.is_dir() else source.parent).resolve()
    manifest = Manifest.read(watched)
    if source.is_file() or manifest.handler is None or handler is not None:
        named = handler or (source.name if source.is_file() else None)
        manifest = _manifest(watched, named, manifest.model_name or _name(source.resolve()))
    name = manifest.model_name or _name(source.resolve())
    folder = into / name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    config = _config(watched, manifest, defaults or {})
    kept = {CONFIG, MANIFEST_PATH.partition("/")[0], manifest.config_file}
    for entry in watched.iterdir():
        if entry.name not in kept:
            (folder / entry.name).symlink_to(entry)
    (folder / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    path = folder / MANIFEST_PATH
    path.parent.mkdir()
    document = manifest.to_dict()
    document["model"] = {**_mapping(document["model"]), "modelName": name, "configFile": CONFIG}
    path.write_bytes(Manifest.from_dict(document).to_json())
    return FolderArchive(name, folder, watched, manifest)


def _name(source: Path) -> str:
    """Return the model's name: that of the file, or of the folder, also for the handler.py in it."""
    if source.is_file() and source.name != "handler.py":
        return default_name(source.with_suffix(""))
    return default_name(source if source.is_dir() else source.parent)


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}


def _config(watched: Path, manifest: Manifest, defaults: dict[str, object]) -> dict[str, object]:
    path = watched / (manifest.config_file or CONFIG)
    if not path.is_file():
        return dict(defaults)
    try:
        return defaults | parse_mapping(path.read_bytes())
    except InvalidArchive as error:
        raise InvalidArchive(f"{path.name}: {error.message}") from None


def _manifest(folder: Path, handler: str | None, name: str) -> Manifest:
    if handler is None:
        found = find_handler(folder)
        if len(found) != 1:
            several = f"there are {', '.join(found)}" if found else "no .py file has a handle(data, context)"
            raise InvalidArchive(
                f"{folder}: which file is the handler? {several}; name one with --handler, or a built-in one:"
                f" {', '.join(BUILT_IN)}"
            )
        handler = found[0]
    weights = sorted(path.name for path in folder.iterdir() if path.suffix in WEIGHTS and path.name not in _OTHERS)
    definition = "model.py" if (folder / "model.py").is_file() and handler != "model.py" else None
    return Manifest(
        model_name=name,
        handler=handler,
        serialized_file=weights[0] if len(weights) == 1 else None,
        model_file=definition,
        requirements_file="requirements.txt" if (folder / "requirements.txt").is_file() else None,
    )
