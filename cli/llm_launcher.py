"""The functions of `ts.llm_launcher`: serve a language model with the flags of TorchServe's launcher.

vLLM serves the model where it is installed, as a process of the worker's; else this server's own engine, that of the
handler `language_model`, for which a flag of TorchServe's engines counts where it means something to it.
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

from ..core.archive.engine_model import ENGINES, check_installed, engine_config, is_installed
from ..core.archive.language_model import HANDLER, check_model_folder, find_cached, language_model_config
from ..core.errors import InvalidConfig, ServeError
from .inherited import settle
from .llm import keep_archive, serve_archive
from .start import StartFlags

_DTYPES = {
    "auto": "auto", "bfloat16": "bfloat16", "float16": "float16", "half": "float16", "float32": "float32",
    "float": "float32",
}  # fmt: skip
HANDLERS = {engine: parts[0] for engine, parts in ENGINES.items()}
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
    add(
        "--engine", choices=("vllm", "trt_llm", "transformers"),
        help="vllm and trt_llm must be installed; transformers is this server's own engine."
        " Default: vllm if it is installed, else transformers.",
    )  # fmt: skip
    add("--startup_timeout", type=int, default=1200, help="Seconds that loading the model may take.")
    add("--dtype", help=f"Type of the weights: {', '.join(_DTYPES)}. Default: the model's own, float32 on a CPU.")
    add(
        "--vllm_engine.max_num_seqs", type=int, default=256,
        help="Sequences at once: with max_model_len, how much KV memory is made.",
    )  # fmt: skip
    add("--vllm_engine.max_model_len", type=int, help="Tokens of a sequence that the KV memory must hold.")
    add("--vllm_engine.download_dir", help="The hub's cache to look in.")
    add("--vllm_engine.tensor_parallel_size", type=int, default=1, help="GPUs that vLLM computes on together.")
    add("--trt_llm_engine.max_batch_size", type=int, default=4, help="Sequences at once, for trt_llm.")
    add(
        "--trt_llm_engine.kv_cache_free_gpu_memory_fraction", type=float, default=0.1,
        help="Part of the GPU's free memory for the KV cache, for trt_llm.",
    )  # fmt: skip
    return parser


def main(args: argparse.Namespace) -> None:
    """Serve the model in the foreground until a signal says stop. Raises ServeError.

    `args` are as the launcher's parser returns them.
    """
    with create_mar_file(args) as archive:
        if _engine(args) == "transformers":
            click.echo("The engine is this server's own, transformers' continuous batching; vLLM is not used.")
        serve_archive(Path(archive), StartFlags(disable_token_auth=args.disable_token_auth))


@contextlib.contextmanager
def create_mar_file(args: argparse.Namespace, model_snapshot_path: str | Path | None = None) -> Iterator[str]:
    """Write the unpacked archive of the model into the model store; it is removed when the context is left.

    Raises ServeError.
    """
    config = get_model_config(args, model_snapshot_path)
    handler = HANDLERS.get(_engine(args), HANDLER)
    archive = keep_archive(args.model_name, config, Path(args.model_store), handler)
    try:
        yield str(archive)
    finally:
        shutil.rmtree(archive, ignore_errors=True)


def get_model_config(args: argparse.Namespace, model_snapshot_path: str | Path | None = None) -> dict[str, Any]:
    """Return what model-config.yaml says for these flags. The model's folder is `model_snapshot_path`, or is found.

    Raises ServeError for flags and folders that can't be served.
    """
    engine = _engine(args)
    if args.startup_timeout < 1:
        raise InvalidConfig(f"--startup_timeout must be at least 1 second, not {args.startup_timeout}")
    settings = {"startupTimeout": args.startup_timeout}
    if engine != "transformers":
        return _engine_config(engine, args, model_snapshot_path or args.model_id, settings)
    folder = Path(model_snapshot_path or _folder(args))
    check_model_folder(folder)
    options: dict[str, Any] = {"dtype": _dtype(args.dtype)}
    length, most = _positive(args, "max_model_len"), _positive(args, "max_num_seqs")
    if length is not None:
        # One sequence of that length must fit, and no more memory is made than all of them could fill.
        options["memory_tokens"] = max(64, min(length * (most or 256), max(_MEMORY, length)))
    return language_model_config(folder, options, settings)


def _engine(args: argparse.Namespace) -> str:
    """Return the engine that is asked for or, if none is, the one that is there."""
    return args.engine or ("vllm" if is_installed("vllm") else "transformers")


def _engine_config(
    engine: str, args: argparse.Namespace, model: str | Path, settings: dict[str, Any]
) -> dict[str, Any]:
    check_installed(engine)
    if engine == "trt_llm":
        if args.dtype is not None:
            raise InvalidConfig(
                "--dtype: trtllm-serve has no such flag; it takes the type that the model's config says"
            )
        config = engine_config(engine, model, {"max_batch_size": _trt_llm(args, "max_batch_size")}, settings)
        fraction = _trt_llm(args, "kv_cache_free_gpu_memory_fraction")
        config["handler"]["kv_cache_config"] = {"free_gpu_memory_fraction": fraction}
        return config
    cache: str | None = getattr(args, "vllm_engine.download_dir", None)
    options = {
        "max_num_seqs": _positive(args, "max_num_seqs"), "max_model_len": _positive(args, "max_model_len"),
        "download_dir": str(Path(cache).resolve()) if cache else None, "dtype": args.dtype,
    }  # fmt: skip
    gpus = _positive(args, "tensor_parallel_size") or 1
    return engine_config(engine, model, options | ({"tensor_parallel_size": gpus} if gpus > 1 else {}), settings)


def _trt_llm(args: argparse.Namespace, name: str) -> Any:
    value = getattr(args, f"trt_llm_engine.{name}")
    if not 0 < value < 2**31:
        raise InvalidConfig(f"--trt_llm_engine.{name} must be above 0, not {value}")
    return value


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
