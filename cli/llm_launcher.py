"""The functions of `ts.llm_launcher`: serve a language model with the flags of TorchServe's launcher.

There is one engine here, that of the handler `language_model`. A flag of TorchServe's engines counts where it means
something to that one; what it can't stand for is refused.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from ..core.archive.language_model import check_model_folder, find_cached, language_model_config
from ..core.errors import InvalidConfig, ServeError
from .inherited import settle
from .llm import keep_archive, serve_archive
from .start import StartFlags

_DTYPES = {
    "auto": "auto", "bfloat16": "bfloat16", "float16": "float16", "half": "float16", "float32": "float32",
    "float": "float32",
}  # fmt: skip
_MEMORY = 16384  # tokens of KV memory that the handler has by itself


def run(words: Sequence[str] | None = None) -> None:
    """Serve what the command line says. Exits with 1, after one line on standard error, if that can't be served."""
    settle()
    try:
        main(argument_parser().parse_args(words))
    except ServeError as error:
        click.echo(str(error), err=True)
        sys.exit(1)


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the launcher's flags; an attribute's name is its flag's, dots included."""
    parser = argparse.ArgumentParser(
        prog="llm_launcher", description="Serve a language model behind OpenAI's API; see also `torchserve llm`."
    )
    add = parser.add_argument
    add("--model_name", default="model", help="The model's name.")
    add("--model_store", default="model_store", help="The folder that the archive is written to; made if missing.")
    add(
        "--model_id", default="meta-llama/Meta-Llama-3.1-8B-Instruct",
        help="The model's folder, or its id if it is in the hub's cache on this machine.",
    )  # fmt: skip
    add("--disable_token_auth", action="store_true", help="No token authorization, wherever it listens.")
    add("--engine", default="vllm", help="vllm: this server's own engine stands in for it. trt_llm is refused.")
    add("--startup_timeout", type=int, default=1200, help="Seconds that loading the model may take.")
    add("--dtype", help=f"Type of the weights: {', '.join(_DTYPES)}. Default: the model's own, float32 on a CPU.")
    add(
        "--vllm_engine.max_num_seqs", type=int, default=256,
        help="Sequences at once: with max_model_len, how much KV memory is made.",
    )  # fmt: skip
    add("--vllm_engine.max_model_len", type=int, help="Tokens of a sequence that the KV memory must hold.")
    add("--vllm_engine.download_dir", help="The hub's cache to look in.")
    add("--trt_llm_engine.max_batch_size", type=int, default=4, help="Without effect: of the engine trt_llm.")
    add(
        "--trt_llm_engine.kv_cache_free_gpu_memory_fraction", type=float, default=0.1,
        help="Without effect: of the engine trt_llm.",
    )  # fmt: skip
    return parser


def main(args: argparse.Namespace) -> None:
    """Serve the model in the foreground until a signal says stop. Raises ServeError.

    `args` are as the launcher's parser returns them.
    """
    with create_mar_file(args) as archive:
        click.echo("The engine is this server's own, transformers' continuous batching; vLLM is not used.")
        serve_archive(Path(archive), StartFlags(disable_token_auth=args.disable_token_auth))


@contextlib.contextmanager
def create_mar_file(args: argparse.Namespace, model_snapshot_path: str | Path | None = None) -> Iterator[str]:
    """Write the unpacked archive of the model into the model store; it is removed when the context is left.

    Raises ServeError.
    """
    config = get_model_config(args, model_snapshot_path)
    archive = keep_archive(args.model_name, config, Path(args.model_store))
    try:
        yield str(archive)
    finally:
        shutil.rmtree(archive, ignore_errors=True)


def get_model_config(args: argparse.Namespace, model_snapshot_path: str | Path | None = None) -> dict[str, Any]:
    """Return what model-config.yaml says for these flags. The model's folder is `model_snapshot_path`, or is found.

    Raises ServeError for flags and folders that can't be served.
    """
    _check_engine(args.engine)
    folder = Path(model_snapshot_path or _folder(args))
    check_model_folder(folder)
    options: dict[str, Any] = {"dtype": _dtype(args.dtype)}
    length, most = _positive(args, "max_model_len"), _positive(args, "max_num_seqs")
    if length is not None:
        # One sequence of that length must fit, and no more memory is made than all of them could fill.
        options["memory_tokens"] = max(64, min(length * (most or 256), max(_MEMORY, length)))
    if args.startup_timeout < 1:
        raise InvalidConfig(f"--startup_timeout must be at least 1 second, not {args.startup_timeout}")
    return language_model_config(folder, options, {"startupTimeout": args.startup_timeout})


def _check_engine(engine: str) -> None:
    if engine == "trt_llm":
        raise InvalidConfig(
            "--engine trt_llm: TensorRT-LLM is not part of this server. Leave the flag out, and the model is served by"
            " this server's own engine; or use tensorrt_llm in a handler of your own"
        )
    if engine != "vllm":
        raise InvalidConfig(f"--engine {engine}: there is no such engine; leave the flag out")


def _folder(args: argparse.Namespace) -> Path:
    if Path(args.model_id).exists():
        return Path(args.model_id)
    cache: str | None = getattr(args, "vllm_engine.download_dir", None)
    return find_cached(args.model_id, Path(cache) if cache else None)


def _dtype(given: str | None) -> str:
    if given is None:
        return "auto"
    if given not in _DTYPES:
        raise InvalidConfig(f"--dtype {given}: it must be one of {', '.join(_DTYPES)}")
    return _DTYPES[given]


def _positive(args: argparse.Namespace, name: str) -> int | None:
    value: int | None = getattr(args, f"vllm_engine.{name}", None)
    if value is not None and not 1 <= value < 2**31:
        raise InvalidConfig(f"--vllm_engine.{name} must be a whole number from 1 to {2**31 - 1}, not {value}")
    return value
