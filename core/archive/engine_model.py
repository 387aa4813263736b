"""The unpacked archive of a language model that vLLM or TensorRT-LLM serves, as a process of its worker's.

The weights stay where they are; an id of a hub is passed on as it is, for the engine to resolve.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidArchive
from .language_model import HUB_ID, PATIENCE

# engine -> the handler, the package and the executable that start it, and what installs it
ENGINES = {
    "vllm": ("vllm_handler", "vllm", "vllm", "pip install vllm"),
    "trt_llm": ("trt_llm_handler", "tensorrt_llm", "trtllm-serve", "pip install tensorrt_llm"),
}


def is_installed(engine: str) -> bool:
    """Return whether this Python, or the PATH, has an engine."""
    _, package, executable, _ = ENGINES[engine]
    return importlib.util.find_spec(package) is not None or shutil.which(executable) is not None


def check_installed(engine: str) -> None:
    """Raise InvalidArchive, with a line that says what to do, if an engine is not installed."""
    _, package, executable, install = ENGINES[engine]
    if not is_installed(engine):
        raise InvalidArchive(
            f"The engine {engine} is not installed: this Python has no package {package}, and the PATH no {executable}."
            f" `{install}` installs it; without it, this server's own engine serves language models (--engine"
            " transformers)"
        )


def engine_config(
    engine: str, model: str | Path, options: Mapping[str, Any], settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the model-config.yaml of `model`, a folder or an id of a hub, for `engine`.

    `options` are the engine's own, less those that are None; `settings` are further keys, which win. Raises
    InvalidArchive for what is neither.
    """
    said = {key: value for key, value in options.items() if value is not None}
    handler: dict[str, Any] = {("engine_dir" if engine == "trt_llm" else "model_path"): _resolved(model)}
    if said:
        handler[f"{engine}_engine_config"] = said
    times = {"startupTimeout": PATIENCE, "responseTimeout": PATIENCE}
    return {"minWorkers": 1, "maxWorkers": 1, **times, **(settings or {}), "handler": handler}


def _resolved(model: str | Path) -> str:
    if Path(model).is_dir():
        return str(Path(model).resolve())
    if not HUB_ID.fullmatch(str(model)):
        raise InvalidArchive(f"{model}: there is no such folder")
    return str(model)
