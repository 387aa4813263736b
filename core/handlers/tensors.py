"""Requests of the Open Inference Protocol in BaseHandler's own hooks: their arrays become the model's inputs.

The first dimension counts rows, as in Triton and KServe. Requests whose arrays differ in nothing else are put together
along it for one run of the model, and its output is cut again. Imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .prediction_exception import PredictionException


def are_tensors(data: Any) -> bool:
    """Return whether a batch consists of requests of tensors: a dict of arrays each."""
    return bool(data) and isinstance(data, list) and all(map(_is_request, data))


def run_tensors(data: Sequence[Mapping[str, Any]], device: torch.device, run: Callable[[Any], Any]) -> list[Any]:
    """Return the output for each request. `run` gets a tensor, or a dict of tensors if there are several inputs.

    Raises PredictionException (400) for BYTES, which torch has no tensor of.
    """
    groups: dict[Any, list[int]] = {}
    for index, request in enumerate(data):
        groups.setdefault(_kind(request), []).append(index)
    outputs: list[Any] = [None] * len(data)
    for indices in groups.values():
        requests = [data[index] for index in indices]
        joined = {name: _joined([each[name] for each in requests], device) for name in requests[0]}
        counts = [_rows(each) for each in requests]
        output = run(next(iter(joined.values())) if len(joined) == 1 else joined)
        for index, part in zip(indices, cut(output, counts), strict=True):
            outputs[index] = part
    return outputs


def cut(output: Any, counts: Sequence[int]) -> list[Any]:
    """Return a model's output for several requests, divided by their numbers of rows.

    Raises ValueError for an output without a row for each of theirs.
    """
    if len(counts) == 1:
        return [output]
    if isinstance(output, Mapping):
        parts = [cut(value, counts) for value in output.values()]
        return [dict(zip(output, each, strict=True)) for each in zip(*parts, strict=True)]
    if isinstance(output, torch.Tensor) and output.ndim and len(output) == sum(counts):
        return list(output.split(list(counts)))
    if isinstance(output, list | tuple):
        if output and all(isinstance(each, torch.Tensor) for each in output):
            return [list(each) for each in zip(*(cut(value, counts) for value in output), strict=True)]
        if len(output) == sum(counts):
            ends = [sum(counts[: index + 1]) for index in range(len(counts))]
            return [output[end - count : end] for end, count in zip(ends, counts, strict=True)]
    raise ValueError(f"the model's output for {sum(counts)} rows has not as many: it can't be divided by request")


def _is_request(row: Any) -> bool:
    return isinstance(row, dict) and bool(row) and all(isinstance(value, np.ndarray) for value in row.values())


def _kind(request: Mapping[str, Any]) -> Any:
    """Return what requests have in common that are run together. A request without a row count is run alone."""
    if not all(array.ndim for array in request.values()):
        return id(request)
    return tuple([(name, array.dtype.str, array.shape[1:]) for name, array in request.items()])


def _rows(request: Mapping[str, Any]) -> int:
    first = next(iter(request.values()))
    return len(first) if first.ndim else 1


def _joined(arrays: Sequence[Any], device: torch.device) -> torch.Tensor:
    if arrays[0].dtype.kind == "O":
        raise PredictionException(
            "The model takes tensors of numbers, not of BYTES: its handler has no preprocess.", 400
        )
    joined = np.concatenate(arrays) if arrays[0].ndim else np.array(arrays[0])  # a copy that may be written to
    return torch.from_numpy(joined).to(device)
