"""The command line of each kind of engine, where it listens, and what it answers where.

vLLM listens on a Unix socket. SGLang and trtllm-serve have none, and get a free port of the loopback interface, which
other users of the host can reach, too. All are told the model's name, so that it is right in their answers.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .connection import Address
from .options import EngineOptions

_LONGEST_SOCKET = 107  # bytes of a Unix socket's path
_RPC_SOCKET = 40  # of the name that vLLM gives to one of its own
_PLACES = ("{model}", "{name}", "{uds}", "{port}")


@dataclass(frozen=True, slots=True)
class Launch:
    """A command line, where the engine listens then, and what it answers where. `folder` is its private one."""

    command: tuple[str, ...]
    address: Address
    folder: str
    ready_path: str
    metrics_path: str


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of engine: the module and the executable that start it, and whether it can listen on a Unix socket."""

    module: str
    executable: tuple[str, ...]
    uds: bool
    metrics_path: str
    install: str


@dataclass(frozen=True, slots=True)
class _Asked:
    """A model whose engine is to listen at `address`, with a private `folder`."""

    options: EngineOptions
    name: str
    address: Address
    folder: Path


_KINDS = {
    "vllm": _Kind("vllm.entrypoints.cli.main", ("vllm", "serve"), True, "/metrics", "pip install vllm"),
    "sglang": _Kind("sglang.launch_server", ("sglang", "serve"), False, "/metrics", "pip install sglang"),
    "trt_llm": _Kind(
        "tensorrt_llm.commands.serve",
        ("trtllm-serve", "serve"),
        False,
        "/prometheus/metrics",
        "pip install tensorrt_llm",
    ),
    "custom": _Kind("", (), True, "/metrics", ""),
}


def plan(options: EngineOptions, name: str) -> Launch:
    """Return how to start the engine for the model `name`, with a new private folder.

    Raises ValueError if the engine is not installed, or its command says too little, and OSError.
    """
    kind = _KINDS[options.kind]
    start = options.command or _installed(options.kind, kind)
    if options.kind == "custom" and not any("{uds}" in word or "{port}" in word for word in start):
        raise ValueError(
            "model-config.yaml: handler.command must say where the engine listens, by {uds}, the path of a Unix socket,"
            " or {port}, a port of 127.0.0.1"
        )
    uds = "{port}" not in " ".join(start) if options.kind == "custom" else kind.uds
    folder = _private_folder()
    try:
        address = Address(path=str(Path(folder, "engine.sock"))) if uds else Address(port=_free_port())
        words = _WORDS[options.kind](_Asked(options, name, address, Path(folder)))
        values = (options.model, name, address.path, str(address.port))
        places: dict[str, str] = dict(zip(_PLACES, values, strict=True))
        command = (*(_filled(word, places) for word in start), *words, *options.arguments)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Launch(command, address, folder, options.ready_path or "/health", options.metrics_path or kind.metrics_path)


def environment_of(options: EngineOptions, base: Mapping[str, str], folder: str) -> dict[str, str]:
    """Return the engine's environment. Its output isn't buffered, and the working folder isn't imported from."""
    ours = {"PYTHONUNBUFFERED": "1", "PYTHONSAFEPATH": "1"}
    if options.kind == "vllm":
        ours["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
        if len(os.fsencode(folder)) + _RPC_SOCKET <= _LONGEST_SOCKET:
            ours["VLLM_RPC_BASE_PATH"] = folder  # the sockets of its own processes, which it leaves when it is killed
    return {**base, **ours, **options.environment}


def _installed(name: str, kind: _Kind) -> tuple[str, ...]:
    """Return the words that start an engine which this Python, or the PATH, has. Raises ValueError."""
    package = kind.module.partition(".")[0]
    if package and importlib.util.find_spec(package) is not None:
        return (sys.executable, "-m", kind.module, *kind.executable[1:]) if name != "sglang" else (
            sys.executable, "-m", kind.module,
        )  # fmt: skip
    if kind.executable and (found := shutil.which(kind.executable[0])):
        return (found, *kind.executable[1:])
    if name == "custom":
        raise ValueError("model-config.yaml: handler.engine custom needs handler.command, the words that start it")
    raise ValueError(
        f"the engine {name} is not installed: neither {sys.executable} has the package {package}, nor is"
        f" {kind.executable[0]} on the PATH. `{kind.install}` installs it (useVenv gives a model a Python of its own),"
        " or handler.command in model-config.yaml names an executable"
    )


def _vllm(model: _Asked) -> Iterator[str]:
    options = model.options
    yield options.model
    yield from ("--uds", model.address.path, "--served-model-name", model.name, *_others(options, model.name))
    yield from _adapters(options, "--lora-modules")
    yield from _flags(options.config, "-", refusals=True)


def _sglang(model: _Asked) -> Iterator[str]:
    options = model.options
    yield from ("--model-path", options.model, "--host", "127.0.0.1", "--port", str(model.address.port))
    yield from ("--served-model-name", model.name, "--enable-metrics")
    yield from _adapters(options, "--lora-paths")
    yield from _flags(options.config, "-")


def _trt_llm(model: _Asked) -> Iterator[str]:
    options = model.options
    if options.adapters or options.chat_template:
        raise ValueError(
            "model-config.yaml: handler.adapters and handler.chat_template have no flag of trtllm-serve;"
            " handler.arguments are passed on as they are"
        )
    yield options.model
    yield from ("--host", "127.0.0.1", "--port", str(model.address.port), "--served_model_name", model.name)
    if options.tokenizer:
        yield from ("--tokenizer", options.tokenizer)
    nested = {key: value for key, value in options.config.items() if isinstance(value, Mapping)}
    if nested:
        path = model.folder / "options.yaml"
        path.write_text(json.dumps(nested), encoding="utf-8")  # JSON is YAML
        yield from ("--extra_llm_api_options", str(path))
    yield from _flags({key: value for key, value in options.config.items() if key not in nested}, "_")


def _custom(model: _Asked) -> Iterator[str]:
    if model.options.adapters or model.options.chat_template:
        raise ValueError(
            "model-config.yaml: handler.adapters and handler.chat_template stand for flags of vLLM and SGLang;"
            " handler.command says those of another engine"
        )
    yield from _flags(model.options.config, "-")


_WORDS: dict[str, Callable[[_Asked], Iterator[str]]] = {
    "vllm": _vllm,
    "sglang": _sglang,
    "trt_llm": _trt_llm,
    "custom": _custom,
}


def _adapters(options: EngineOptions, flag: str) -> Iterator[str]:
    if options.adapters:
        if "enable_lora" not in options.config:
            yield "--enable-lora"
        yield from (flag, *(f"{adapter}={path}" for adapter, path in options.adapters.items()))
    if options.chat_template:
        yield from ("--chat-template", options.chat_template)


def _others(options: EngineOptions, name: str) -> Iterator[str]:
    """Yield the names beside the model's own under which TorchServe's clients may ask for it."""
    others = options.names or ((options.model,) if not os.path.isabs(options.model) else ())  # noqa: PTH117
    yield from dict.fromkeys(other for other in others if other != name)


def _flags(config: Mapping[str, Any], dash: str, *, refusals: bool = False) -> Iterator[str]:
    """Yield the flags of options by name. With `refusals`, False is the flag with `no` before its name."""
    for key, value in config.items():
        flag = f"--{key.replace('_', dash)}"
        if value is None:
            continue
        if value is True:
            yield flag
        elif value is False:
            if refusals:
                yield f"--no{dash}{flag[2:]}"
        elif isinstance(value, Mapping):
            yield from (flag, json.dumps(value))
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield from (flag, *(str(each) for each in value))
        else:
            yield f"{flag}={value}"


def _filled(word: str, places: Mapping[str, str]) -> str:
    for place, value in places.items():
        word = word.replace(place, value)
    return word


def _private_folder() -> str:
    """Make a folder that no other user can enter, short enough for a socket's path in it."""
    folder = tempfile.mkdtemp(prefix="ts-engine-")
    if len(os.fsencode(folder)) + len("/engine.sock") <= _LONGEST_SOCKET:
        return folder
    Path(folder).rmdir()
    return tempfile.mkdtemp(prefix="ts-engine-", dir="/tmp")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
