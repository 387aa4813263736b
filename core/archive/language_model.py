"""The unpacked archive of a language model: a manifest, and a yaml that names the model's folder.

The weights stay where they are. What the folder lacks is said before a server is started; nothing of it is run.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from ..errors import InvalidArchive
from .folder_archive import CONFIG
from .manifest import MANIFEST_PATH, Manifest
from .writer import PackError, Recipe, check_model_name, pack

HANDLER = "language_model"
_HANDLERS = (HANDLER, "vllm_handler", "trt_llm_handler")
PATIENCE = 1200  # seconds that loading may take, and an answer
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_CACHED = re.compile(r"models--.+--(.+)")  # a model's folder in the hub's cache, above its snapshots
_LARGEST_CONFIG = 1 << 20  # bytes


def check_model_folder(folder: Path, gguf_file: str = "") -> None:
    """Check that the folder holds a language model as the handler reads it, and that transformers is there.

    Raises InvalidArchive, with one line that says what to do.
    """
    if not folder.is_dir():
        raise InvalidArchive(_no_folder(folder))
    if gguf_file:
        if not (folder / gguf_file).is_file():
            raise InvalidArchive(f"{folder} has no file {gguf_file}{_those(folder, '*.gguf')}")
    elif not (folder / "config.json").is_file():
        found = sorted(path.name for path in folder.glob("*.gguf"))
        hint = f": it has {found[0]}, which --gguf-file {found[0]} serves" if found else ""
        raise InvalidArchive(
            f"{folder} has no config.json{hint or ': name the folder that save_pretrained or `hf download` wrote'}"
        )
    else:
        _check_architecture(folder)
        if not any(folder.glob("*.safetensors")):
            raise InvalidArchive(
                f"{folder} has no weights in safetensors format{_those(folder, '*.bin')}: download those, or load the"
                " model with transformers where you trust it and call save_pretrained"
            )
    if find_spec("transformers") is None:
        raise InvalidArchive("Language models need transformers: pip install 'torchserve[llm]'")


def find_cached(model_id: str, cache: Path | None = None) -> Path:
    """Return the folder of a model that lies in the hub's cache on this machine, or in `cache`.

    Raises InvalidArchive, with one line that says how to download it, if it isn't there.
    """
    cache = cache or _hub_cache()
    if not HUB_ID.fullmatch(model_id):
        raise InvalidArchive(f"{model_id}: there is no such folder")
    kept = cache / f"models--{model_id.replace('/', '--')}"
    try:
        revision = (kept / "refs" / "main").read_text().strip()
    except (OSError, UnicodeDecodeError):
        revision = ""
    folder = kept / "snapshots" / revision
    if not revision or not folder.is_dir():
        into = f" --cache-dir {cache}" if cache != _hub_cache() else ""
        raise InvalidArchive(
            f"{model_id} is neither a folder nor in the cache {cache}, and a server downloads no models: download it"
            f" first, `hf download {model_id}{into}`"
        )
    return folder


def language_model_config(
    folder: Path, options: Mapping[str, Any], settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the model-config.yaml of the model in `folder`.

    `options` are the handler's, beside `model_path`; `settings` are further keys, which win.
    """
    return {
        "minWorkers": 1,
        "maxWorkers": 1,
        "startupTimeout": PATIENCE,
        "responseTimeout": PATIENCE,
        **(settings or {}),
        "handler": {"model_path": str(folder.resolve()), **options},
    }


def write_language_model(name: str, config: Mapping[str, Any], store: Path, handler: str = HANDLER) -> Path:
    """Write the archive of a model with this model-config.yaml into `store`, and return its own folder there.

    An archive that this function wrote before is replaced. Raises InvalidArchive for a bad name or something else that
    is in the way, and OSError.
    """
    try:
        check_model_name(name)
    except PackError as error:
        raise InvalidArchive(f"{error}: give another one") from None
    target = store / name
    if target.exists() and not _is_ours(target):
        raise InvalidArchive(f"{target} is there already, and no language model's: remove it, or give another name")
    with tempfile.TemporaryDirectory(prefix="torchserve-") as scratch:
        path = Path(scratch, CONFIG)
        path.write_text(yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True), encoding="utf-8")
        recipe = Recipe(name, "1.0", handler, config_file=str(path))
        return pack(recipe, store, archive_format="no-archive", force=True)


def is_gguf(path: Path) -> bool:
    """Return whether `path` is a file by whose name it is a whole model in GGUF format."""
    return path.suffix.lower() == ".gguf" and path.is_file()


def name_of(model: Path) -> str:
    """Return a model's name for its GGUF file or its folder: that of the file without its suffix; the folder's, or the
    model's whose snapshot in the hub's cache it is.
    """
    whole = model.resolve()
    if is_gguf(model):
        whole = model.absolute().with_suffix("")  # by the name that was given: the cache's files are links to hashes
    cached = _CACHED.fullmatch(whole.parent.parent.name) if whole.parent.name == "snapshots" else None
    name = cached[1] if cached else whole.name
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).lstrip("-_.") or "model"


def _hub_cache() -> Path:
    """Return the folder of the hub's cache, by the variables that its own library reads."""
    env = os.environ
    if said := env.get("HF_HUB_CACHE") or env.get("HUGGINGFACE_HUB_CACHE"):
        return Path(said).expanduser()
    caches = env.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(env.get("HF_HOME") or Path(caches, "huggingface"), "hub").expanduser()


def _no_folder(folder: Path) -> str:
    if folder.exists():
        return f"{folder} is neither a GGUF file nor a folder: name the file, or the folder with the model in it"
    if not HUB_ID.fullmatch(text := str(folder)):
        return f"{folder}: there is no such folder"
    local = folder.name
    return (
        f"{text} is no folder here, and a server downloads no models. If it is one of a hub, download it first:"
        f" `hf download {text} --local-dir {local}` (or huggingface_hub.snapshot_download), then serve {local}"
    )


def _those(folder: Path, pattern: str) -> str:
    found = sorted(path.name for path in folder.glob(pattern))
    return f", but {', '.join(found[:3])}" if found else ""


def _check_architecture(folder: Path) -> None:
    path = folder / "config.json"
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise InvalidArchive(f"{path} has more than {_LARGEST_CONFIG >> 20} MiB: it is no model's configuration")
        config = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArchive(f"{path} can't be read as JSON: {error}") from None
    if not isinstance(config, dict):
        raise InvalidArchive(f"{path} is no JSON object")
    named = config.get("architectures")
    names = [str(each) for each in named] if isinstance(named, list) else []
    if names and not any(re.search(r"LM|Generation", name) and "MaskedLM" not in name for name in names):
        raise InvalidArchive(f"{folder} is a {names[0]}, which generates no text: text_embedder serves encoders")


def _is_ours(target: Path) -> bool:
    """Return whether a folder is what `write_language_model` writes, and nothing more."""
    files = {str(path.relative_to(target)) for path in target.rglob("*") if not path.is_dir()}
    return files == {CONFIG, MANIFEST_PATH} and Manifest.read(target).handler in _HANDLERS
