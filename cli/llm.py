"""The command `torchserve llm`, which serves a language model from a folder behind OpenAI's API."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from ..core.archive.engine_model import check_installed, engine_config
from ..core.archive.language_model import (
    HANDLER,
    check_model_folder,
    is_gguf,
    language_model_config,
    name_of,
    write_language_model,
)
from ..core.bounded_yaml import YAML_ERRORS, YamlRefused, load_yaml
from ..core.config.address import Address
from ..core.errors import InvalidArchive, InvalidConfig, ServeError
from ..core.server import ModelServer
from .runtime_file import RunningServer, find_running_server
from .start import StartFlags, start

_LOOK = 0.2  # seconds between two looks whether the model is ready


@click.command(context_settings={"max_content_width": 110})
@click.argument("model", metavar="MODEL", type=click.Path(path_type=Path))
@click.option("--name", help="The model's name. Default: the folder's, or the GGUF file's.")
@click.option(
    "--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto", show_default=True,
    help="Type of the weights; auto: float32 on a CPU, and what the model's config says on a GPU.",
)  # fmt: skip
@click.option(
    "--memory-tokens", type=click.IntRange(64, 2**31 - 1),
    help="Tokens that the KV memory holds, of all requests together. Default: 16384.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(["transformers", "vllm"]), default="transformers", show_default=True,
    help="What generates: transformers, in the worker, or vLLM, which the worker starts and which must be installed.",
)  # fmt: skip
@click.option(
    "--engine-option", "engine_options", multiple=True, metavar="NAME=VALUE",
    help="An option of vLLM's, such as max_model_len=4096; may be repeated.",
)  # fmt: skip
@click.option("--gguf-file", help="A GGUF file in the folder, instead of safetensors.")
@click.option(
    "--model-store", type=click.Path(path_type=Path),
    help="Keep the archive that is made in this folder. Default: one that goes with the server.",
)  # fmt: skip
@click.option("--ts-config", type=click.Path(path_type=Path), help="The config.properties to use.")
@click.option("--log-config", type=click.Path(path_type=Path), help="What is logged where.")
@click.option("--disable-token-auth", is_flag=True, help="No token authorization, wherever it listens.")
def llm(
    model: Path, name: str | None, model_store: Path | None, ts_config: Path | None, log_config: Path | None,
    disable_token_auth: bool, engine: str, engine_options: tuple[str, ...], **options: Any,
) -> None:  # fmt: skip
    """Serve the language model MODEL with OpenAI's API, in the foreground.

    MODEL is a GGUF file, or a folder as save_pretrained or `hf download` writes it: config, tokenizer, and weights in
    safetensors format or a GGUF file. Nothing is downloaded. Ctrl-C ends it.
    """
    said = {key: value for key, value in options.items() if value}
    name = name or name_of(model)
    folder = model
    if is_gguf(model) and "gguf_file" not in said:
        folder, said["gguf_file"] = model.parent, model.name
    flags = StartFlags(ts_config=ts_config, log_config=log_config, disable_token_auth=disable_token_auth)
    try:
        config, handler = _config(folder, engine, engine_options, said)
        with tempfile.TemporaryDirectory(prefix="torchserve-llm-") as scratch:
            made = keep_archive(name, config, model_store or Path(scratch), handler)
            serve_archive(made, flags)
    except ServeError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def _config(
    folder: Path, engine: str, engine_options: tuple[str, ...], said: dict[str, Any]
) -> tuple[dict[str, Any], str]:
    """Return the model-config.yaml, and the handler. Raises InvalidArchive, InvalidConfig."""
    if engine == "transformers":
        if engine_options:
            raise InvalidConfig("--engine-option is for --engine vllm; transformers' options are flags of this command")
        check_model_folder(folder, said.get("gguf_file", ""))
        return language_model_config(folder, said), HANDLER
    for key in ("memory_tokens", "gguf_file"):
        if key in said:
            flag = key.replace("_", "-")
            raise InvalidConfig(f"--{flag} is for --engine transformers; vLLM has options of its own (--engine-option)")
    check_installed(engine)
    if not (folder / "config.json").is_file():
        raise InvalidArchive(f"{folder} has no config.json: name the folder that `hf download` wrote")
    dtype = said["dtype"] if said["dtype"] != "auto" else None
    return engine_config(engine, folder, {"dtype": dtype, **_pairs(engine_options)}), "vllm_handler"


def _pairs(words: tuple[str, ...]) -> dict[str, Any]:
    """Return options from texts NAME=VALUE, whose values are YAML. Raises InvalidConfig."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InvalidConfig(f"--engine-option {word}: it must be NAME=VALUE")
        try:
            found[name.strip("-").replace("-", "_")] = load_yaml(value.encode())
        except (*YAML_ERRORS, YamlRefused) as error:
            cause = " ".join(str(error).split())
            raise InvalidConfig(f"--engine-option {word}: its value can't be read: {cause}") from None
    return found


def keep_archive(name: str, config: dict[str, Any], store: Path, handler: str = HANDLER) -> Path:
    """Write the archive of a language model into `store`, which is made if missing, and return its folder.

    Raises InvalidArchive.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
        return write_language_model(name, config, store, handler)
    except OSError as error:
        raise InvalidArchive(f"The model store {store} can't be written: {error}") from None


def serve_archive(archive: Path, flags: StartFlags) -> None:
    """Serve the archive of a language model, in the foreground, until a signal says stop. Raises ServeError.

    Of `flags` those count that say how to serve, not what. How to ask the model is printed once it is ready.
    """
    name = archive.name
    start(
        StartFlags(
            foreground=True, ncs=True, ts_config=flags.ts_config, log_config=flags.log_config,
            model_store=archive.parent, models=(f"{name}={name}",), disable_token_auth=flags.disable_token_auth,
        ),
        lambda server: _tell_when_ready(server, name),
    )  # fmt: skip


async def _tell_when_ready(server: ModelServer, name: str) -> None:
    while not server.controlplane.ready(name):
        await asyncio.sleep(_LOOK)
    running = await asyncio.to_thread(find_running_server)
    click.echo(how_to_ask(name, running))


def how_to_ask(name: str, running: RunningServer | None) -> str:
    """Return the lines that say how a model is asked: by curl, and by OpenAI's client."""
    address = running.addresses.get("inference") if running is not None else None
    key_file = running.key_file if running is not None else None
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hello!"}]})
    key = "-H 'Authorization: Bearer KEY' " if key_file is not None else ""
    return "\n".join(
        [
            f"{name} is served. Ask it:",
            f"  curl {_reached(address)}/v1/chat/completions {key}-d '{body}'",
            f'  OpenAI(base_url="{_url(address)}/v1", api_key="{"KEY" if key else "none"}")',
            *([f"  KEY is the inference key in {key_file}"] if key else []),
        ]
    )


def _reached(address: Address | None) -> str:
    return f"--unix-socket {address.path} {_url(address)}" if address is not None and address.path else _url(address)


def _url(address: Address | None) -> str:
    if address is None or address.path:
        return "http://localhost"
    return str(Address("127.0.0.1" if address.everywhere else address.host, address.port, address.tls))
