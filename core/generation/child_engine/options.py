"""EngineOptions: what `handler:` of model-config.yaml says of an engine that runs as a process of its own.

The keys of TorchServe's vllm_handler and trt_llm_handler are read as they are; what has no meaning is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = ("vllm", "sglang", "trt_llm", "custom")
_KEYS = {
    "vllm_handler": ("model_path", "vllm_engine_config", "adapters", "chat_template"),
    "trt_llm_handler": ("engine_dir", "tokenizer_dir", "kv_cache_config", "trt_llm_engine_config"),
    "child_engine": (
        "engine", "model_path", "engine_config", "adapters", "chat_template", "served_model_name", "ready_path",
        "metrics_path",
    ),
}  # fmt: skip
_COMMON = ("command", "arguments", "environment", "health_interval", "health_timeout", "metrics_interval")
_CONFIGS = {"vllm_handler": "vllm_engine_config", "trt_llm_handler": "trt_llm_engine_config"}
_SECONDS = {"health_interval": (0.1, 3600.0), "health_timeout": (0.1, 3600.0), "metrics_interval": (0.0, 3600.0)}
_FLAG = re.compile(r"[a-z][a-z0-9_]{0,99}")
_NAME = re.compile(r"[A-Za-z0-9][\w./:@-]{0,255}", re.ASCII)
_PATH = re.compile(r"/[\w./-]{0,255}", re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_]\w{0,255}", re.ASCII)
_MOST_NAMES = 1000
# How the engine listens, and under which names, is the server's to say.
_OURS = re.compile(r"uds|host|port|root_path|api_key|lora_modules|lora_paths|ssl_.*")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """The options of one engine.

    `model` is a folder, or what the engine itself resolves. `config` are the engine's own options by name. `command`
    starts it instead of the usual words, and `arguments` stand behind all others. `names` are further names that it
    serves the model under, and `adapters` folders of LoRA weights by name. `ready_path` and `metrics_path` are "" for
    the engine's usual ones. Times are in seconds: between two looks at the engine, after which it counts as hanging,
    and between two readings of its metrics, which 0 leaves out.
    """

    kind: str
    model: str
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    names: tuple[str, ...] = ()
    adapters: Mapping[str, str] = field(default_factory=dict[str, str])
    chat_template: str = ""
    tokenizer: str = ""
    ready_path: str = ""
    metrics_path: str = ""
    health_interval: float = 10.0
    health_timeout: float = 60.0
    metrics_interval: float = 10.0


def read_options(handler: str, said: Any, model_dir: Path) -> EngineOptions:
    """Return the options of the handler of that name. Raises ValueError that names the key."""
    table = _table(said, "handler")
    known = (*_KEYS[handler], *_COMMON)
    if unknown := sorted(str(key) for key in table if key not in known):
        raise _wrong("", f"has {', '.join(unknown)}, which nothing stands for; known: {', '.join(known)}")
    config = dict(_table(table.get(key := _CONFIGS.get(handler, "engine_config"), {}), key))
    for name in config:
        if not isinstance(name, str) or not _FLAG.fullmatch(name):
            raise _wrong(key, f"has {name!r}, which is no option's name")
        if _OURS.fullmatch(name):
            instead = (
                "handler.adapters names LoRA weights" if "lora" in name else "the server decides how it is reached"
            )
            raise _wrong(key, f"must not have {name}: {instead}")
    kind = {"vllm_handler": "vllm", "trt_llm_handler": "trt_llm"}.get(handler) or table.get("engine", "vllm")
    if kind not in KINDS:
        raise _wrong("engine", f"must be one of {', '.join(KINDS)}, not {kind!r}")
    names = _names(config.pop("served_model_name", None) or table.get("served_model_name"), "served_model_name")
    seconds = {name: _number(table, name, *span) for name, span in _SECONDS.items() if name in table}
    options = EngineOptions(
        kind=kind,
        model=_model(table, config, model_dir),
        config=config,
        command=_words(table, "command"),
        arguments=_words(table, "arguments"),
        environment=_variables(table),
        names=names,
        adapters=_adapters(table, model_dir),
        chat_template=_found(_text(table, "chat_template"), model_dir),
        tokenizer=_found(_text(table, "tokenizer_dir"), model_dir),
        ready_path=_path(table, "ready_path"),
        metrics_path=_path(table, "metrics_path"),
        **seconds,
    )
    return _with_kv_cache(options, table)


def _with_kv_cache(options: EngineOptions, table: Mapping[str, Any]) -> EngineOptions:
    if "kv_cache_config" not in table:
        return options
    from dataclasses import replace

    kept = _table(table["kv_cache_config"], "kv_cache_config")
    return replace(options, config={**options.config, "kv_cache_config": dict(kept)})


def _model(table: Mapping[str, Any], config: dict[str, Any], model_dir: Path) -> str:
    """Return the model: a folder of the archive if there is one of that name, else the name as it is."""
    said = config.pop("model", None) or table.get("engine_dir") or table.get("model_path")
    if table.get("engine") == "custom" and said is None:
        return ""
    if not isinstance(said, str) or not said:
        keys = "engine_dir" if "engine_dir" in _KEYS["trt_llm_handler"] and "tokenizer_dir" in table else "model_path"
        raise _wrong(keys, "must name the model's folder, or the model as the engine knows it")
    if said.startswith("-"):
        raise _wrong("model_path", f"must be no option: {said!r}")
    return _found(said, model_dir)


def _found(said: str, model_dir: Path) -> str:
    """Return the path in the archive if that exists, else the text."""
    try:
        return str(model_dir / said) if said and (model_dir / said).exists() else said
    except (OSError, ValueError):
        return said  # a template's own text may be too long for a path


def _adapters(table: Mapping[str, Any], model_dir: Path) -> dict[str, str]:
    said = _table(table.get("adapters") or {}, "adapters")
    names = _names([str(name) for name in said], "adapters")
    for name, path in said.items():
        if not isinstance(path, str) or not path:
            raise _wrong("adapters", f"{name} must be the path of a folder, not {path!r}")
    return {name: _found(path, model_dir) for name, path in zip(names, said.values(), strict=True)}


def _names(said: Any, key: str) -> tuple[str, ...]:
    names = [said] if isinstance(said, str) else list(said) if isinstance(said, list | tuple) else []
    if said is not None and (not isinstance(said, str | list | tuple) or len(names) > _MOST_NAMES):
        raise _wrong(key, f"must be a name, or a list of at most {_MOST_NAMES} names")
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise _wrong(key, f"has {name!r}, which is no model's name")
    return tuple(names)


def _words(table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    said = table.get(key, ())
    words = said.split() if isinstance(said, str) else said
    if not isinstance(words, list | tuple) or any(isinstance(word, list | dict) or word is None for word in words):
        raise _wrong(key, f"must be a list of words, not {said!r}")
    return tuple(str(word) for word in words)


def _variables(table: Mapping[str, Any]) -> dict[str, str]:
    said = _table(table.get("environment", {}), "environment")
    for name, value in said.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name) or isinstance(value, list | dict):
            raise _wrong("environment", f"{name!r}: {value!r} is no variable")
    return {str(name): str(value) for name, value in said.items()}


def _number(table: Mapping[str, Any], key: str, low: float, high: float) -> float:
    value = table[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise _wrong(key, f"must be a number of seconds from {low:g} to {high:g}, not {value!r}")
    return float(value)


def _path(table: Mapping[str, Any], key: str) -> str:
    value = _text(table, key)
    if value and not _PATH.fullmatch(value):
        raise _wrong(key, f"must be a path such as /health, not {value!r}")
    return value


def _text(table: Mapping[str, Any], key: str) -> str:
    value = table.get(key) or ""
    if not isinstance(value, str):
        raise _wrong(key, f"must be a text, not {value!r}")
    return value


def _table(said: Any, key: str) -> Mapping[str, Any]:
    if not isinstance(said, Mapping):
        raise _wrong("" if key == "handler" else key, f"must be a table of options, not {said!r}")
    return said


def _wrong(key: str, text: str) -> ValueError:
    return ValueError(f"model-config.yaml: handler{'.' if key else ''}{key} {text}")
