"""Reads files of torch.save: plain data by default, pickled objects only if the model's own yaml asks for it."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch


def pickles_allowed(config: Mapping[str, Any] | None) -> bool:
    """Return whether model-config.yaml says `handler: {weights_only: false}`. Raises ValueError if it is no boolean."""
    options = (config or {}).get("handler")
    value = options.get("weights_only", True) if isinstance(options, Mapping) else True
    if not isinstance(value, bool):
        raise ValueError(f"model-config.yaml: handler: weights_only must be true or false, not {value!r}")  # noqa: TRY004
    return not value


def existing(path: str) -> str:
    if not Path(path).is_file():
        raise RuntimeError(f"No model weights could be loaded: {path} is missing")
    return path


def load_pickled(path: str, device: Any, *, unsafe: bool, mapped: bool = False) -> Any:
    """Return the contents of a file of torch.save. With `unsafe`, code in the pickle is run; with `mapped`, tensors lie
    in pages of the file.

    Raises RuntimeError, which names the file and the remedy, for objects that are not plain data.
    """
    try:
        return torch.load(existing(path), map_location=device, weights_only=not unsafe, mmap=mapped)
    except pickle.UnpicklingError as error:
        if unsafe:
            raise RuntimeError(f"{Path(path).name} can't be read: {error}") from error
        raise RuntimeError(
            f"{Path(path).name} is not a plain state dict, and other pickles are refused because they can run code:"
            " save it with torch.save(model.state_dict(), ...), or, if you trust the file, say weights_only: false"
            f" under handler: in model-config.yaml. {' '.join(str(error).split())}"
        ) from error
