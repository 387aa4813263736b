"""Load a language model and its tokenizer with transformers, from a folder and never from a hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .hf_engine import VERSIONS

_SOURCE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def load_model(folder: Path, options: Any, device: str) -> tuple[Any, Any]:
    """Return tokenizer and model of `folder`, on `device`. `options` is a LanguageModelOptions.

    Weights are safetensors or, with `gguf_file`, GGUF. Pickles, which run code, are not read, nor is the folder's code.
    Raises ValueError, and what transformers raises.
    """
    transformers = _transformers()
    if not Path(folder, "config.json").is_file() and not options.gguf_file:
        raise ValueError(f"{folder} has no config.json: handler.model_path names the model's folder")
    source = dict(_SOURCE)
    if options.gguf_file:
        source["gguf_file"] = options.gguf_file
    else:
        _refuse_pickles(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **source)
    dtype = "float32" if options.dtype == "auto" and (device == "cpu" or options.gguf_file) else options.dtype
    weights = {} if options.gguf_file else {"use_safetensors": True}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(folder), dtype=dtype, attn_implementation="sdpa", **weights, **source
    )
    return tokenizer, model.to(device).eval()


def load_encoder(folder: Path, dtype: str, device: str) -> tuple[Any, Any]:
    """Return tokenizer and model of `folder`, a model that turns tokens into vectors, on `device`.

    Weights are safetensors. Raises ValueError, and what transformers raises.
    """
    transformers = _transformers()
    if not Path(folder, "config.json").is_file():
        raise ValueError(f"{folder} has no config.json: handler.model_path names the model's folder")
    _refuse_pickles(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(str(folder), **_SOURCE)
    dtype = "float32" if dtype == "auto" and device == "cpu" else dtype
    model = transformers.AutoModel.from_pretrained(str(folder), dtype=dtype, use_safetensors=True, **_SOURCE)
    return tokenizer, model.to(device).eval()


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise ValueError("language models need transformers: pip install 'torchserve[llm]'") from None
    version = tuple(int(part) for part in transformers.__version__.split(".")[:2])
    first, beyond = VERSIONS
    if not first <= version < beyond:
        text = f"transformers {transformers.__version__} is not in the range that serves language models"
        raise ValueError(f"{text}: at least {first[0]}.{first[1]}, before {beyond[0]}.{beyond[1]}")
    return transformers


def _refuse_pickles(folder: Path) -> None:
    if not any(folder.glob("*.safetensors")):
        found = sorted(path.name for pattern in ("*.bin", "*.pt", "*.pth") for path in folder.glob(pattern))
        raise ValueError(
            f"{folder} has no weights in safetensors format"
            + (f", and {found[0]} is a pickle, which could run code: convert it (save_pretrained)" if found else "")
        )
