"""Padding: the tensors of a batch filled up to a size that the model was compiled for, and its outputs cut again.

The last row is repeated. It is one that the model was made for, whereas zeros may be none (a division by the sum of a
mask, no word at all), and rows don't touch one another in what is served in batches. Imports torch.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch


def rows_of(data: Any) -> int:
    """The leading dimension of the first tensor in `data`, however nested; 0 if there is none."""
    if isinstance(data, torch.Tensor):
        return len(data) if data.ndim else 0
    if isinstance(data, Mapping):
        data = list(data.values())
    if isinstance(data, list | tuple):
        return next((rows for each in data if (rows := rows_of(each))), 0)
    return 0


def padded(data: Any, rows: int, size: int) -> Any:
    """`data` with `size` rows in each tensor that has `rows` of them."""

    def pad(tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat([tensor, tensor[-1:].expand(size - rows, *tensor.shape[1:])])

    return _each(data, rows, pad)


def trimmed(output: Any, size: int, rows: int) -> Any:
    """`output` with the first `rows` rows of each tensor that has `size` of them, and of a list of as many elements."""
    return _each(output, size, lambda found: found[:rows], lists=True)


def _each(data: Any, rows: int, change: Callable[[Any], Any], *, lists: bool = False) -> Any:
    """`data`, of the same types, with `change` made to what has `rows` rows: tensors and, if asked for, lists."""

    def within(inner: Any) -> Any:
        return _each(inner, rows, change, lists=lists)

    if isinstance(data, torch.Tensor):
        return change(data) if data.ndim and len(data) == rows else data
    if dataclasses.is_dataclass(data) and not isinstance(data, type):  # Hugging Face's outputs, which are mappings, too
        return dataclasses.replace(data, **{key: within(getattr(data, key)) for key in _fields(data)})
    if isinstance(data, Mapping):
        made: Any = copy.copy(data)  # which may be more than a dict: tokenizers' has a `to`
        for key, value in data.items():
            made[key] = within(value)
        return made
    if lists and isinstance(data, list) and len(data) == rows:
        first = data[0]
        if not (isinstance(first, torch.Tensor) and rows_of(first) == rows):
            return change(data)  # of a detector: an element a row
    if isinstance(data, list | tuple):
        items = [within(each) for each in data]
        return type(data)(*items) if hasattr(data, "_fields") else type(data)(items)
    return data


def _fields(data: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(data) if field.init]
