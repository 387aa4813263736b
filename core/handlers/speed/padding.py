"""Pads a batch to a size that the model was compiled for, and cuts its outputs to the original size. Imports torch.

The last row is repeated. It is a row that the model can take, which zeros may not be: a model may divide by the sum of
a mask. The rows of a batch do not influence one another in models that are served in batches.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch


def rows_of(data: Any) -> int:
    """Return the length of the first tensor in `data`, however nested, or 0 if there is none."""
    if isinstance(data, torch.Tensor):
        return len(data) if data.ndim else 0
    if isinstance(data, Mapping):
        data = list(data.values())
    if isinstance(data, list | tuple):
        return next((rows for each in data if (rows := rows_of(each))), 0)
    return 0


def padded(data: Any, rows: int, size: int) -> Any:
    """Return `data` with each tensor of `rows` rows padded to `size` rows."""

    def pad(tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat([tensor, tensor[-1:].expand(size - rows, *tensor.shape[1:])])

    return _each(data, rows, pad)


def trimmed(output: Any, size: int, rows: int) -> Any:
    """Return `output` with each tensor of `size` rows, and each list of `size` elements, cut to `rows`."""
    return _each(output, size, lambda found: found[:rows], lists=True)


def _each(data: Any, rows: int, change: Callable[[Any], Any], *, lists: bool = False) -> Any:
    """Return `data`, its types unchanged, with `change` applied to each tensor (and, with `lists`, each list) of `rows`
    rows.
    """

    def within(inner: Any) -> Any:
        return _each(inner, rows, change, lists=lists)

    if isinstance(data, torch.Tensor):
        return change(data) if data.ndim and len(data) == rows else data
    if dataclasses.is_dataclass(data) and not isinstance(
        data, type
    ):  # Hugging Face's outputs, which are mappings as well
        return dataclasses.replace(data, **{key: within(getattr(data, key)) for key in _fields(data)})
    if isinstance(data, Mapping):
        made: Any = copy.copy(data)  # a copy of its own type: a tokenizer's mapping has a method `to`
        for key, value in data.items():
            made[key] = within(value)
        return made
    if lists and isinstance(data, list) and len(data) == rows:
        first = data[0]
        if not (isinstance(first, torch.Tensor) and rows_of(first) == rows):
            return change(data)  # a detector's output: one element per row
    if isinstance(data, list | tuple):
        items = [within(each) for each in data]
        return type(data)(*items) if hasattr(data, "_fields") else type(data)(items)
    return data


def _fields(data: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(data) if field.init]
