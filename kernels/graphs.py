"""Graphs: work that a CUDA device has recorded once for each size of batch, and repeats at one call.

All graphs read one shared buffer. What waits for what, whatever streams the callers use:

- A recording waits until its input tensors have been made.
- A batch is laid into the shared buffer only once the batch before it has been read there and its answer copied.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_WARM_UP = 2  # runs before a recording: what the first runs load, choose and compile can't be recorded
Work = Callable[[Tensor, int], Any]
"""Make an answer of the first rows of the shared buffer: tensors, alone or in lists, tuples and dicts."""


class Unrecorded(Exception):
    """The work can't be recorded; the text says why."""


@dataclass(frozen=True)
class _Recorded:
    """A recorded graph, and the tensors into which it writes its answer."""

    graph: Any
    answer: Any


class Graphs:
    """A set of recordings of the same work, one for each size of batch. Any thread may use it."""

    def __init__(self, source: Tensor, sizes: Iterable[int], work: Work) -> None:
        """Record `work` for each of `sizes` rows; it may read `source` and what never changes. Raises Unrecorded."""
        self.source = source
        self._device = source.device
        self._lock = threading.Lock()
        self._read = torch.cuda.Event()
        self._recorded: dict[int, _Recorded] = {}
        pool = None
        for size in sorted(sizes, reverse=True):  # the memory of the largest graph suffices for the others
            try:
                made = _record(source, size, work, pool)
            except Exception as error:
                raise Unrecorded(f"a batch of {size}: {type(error).__name__}: {error}") from error
            self._recorded[size] = made
            pool = made.graph.pool()
        self.sizes = sorted(self._recorded)

    def size(self, rows: int) -> int | None:
        """Return the smallest recorded size that holds so many rows; None if there is none."""
        return next((size for size in self.sizes if size >= rows), None)

    def run(self, rows: int, fill: Callable[[Tensor], object]) -> Any:
        """Return the answers of the first `rows` rows, made on the current stream.

        `fill` lays the rows' input into the buffer; the other rows are whatever the buffer held before. The answers are
        copies, as the next batch overwrites what the graph has written.
        """
        size = self.size(rows)
        assert size is not None
        made = self._recorded[size]
        current = torch.cuda.current_stream(self._device)
        with self._lock:
            current.wait_event(self._read)
            fill(self.source)
            made.graph.replay()
            answer = _mapped(made.answer, lambda each: _copied(each, rows, size))
            self._read.record(current)
        return answer


def record_rows(row: Tensor, sizes: Sequence[int], model: Callable[[Tensor], Any]) -> Graphs:
    """Record `model` for each of `sizes` rows of the shape of `row`, which is on its device. Raises Unrecorded."""
    if row.device.type != "cuda":
        raise Unrecorded(f"the model runs on {row.device.type}")
    source = torch.zeros((max(sizes), *row.shape), dtype=row.dtype, device=row.device)
    return Graphs(source, sizes, lambda source, rows: model(source[:rows]))


def answered(batch: Tensor, answer: Any) -> Tensor:
    """Attach what the model has made of `batch` already, and return the batch."""
    vars(batch)["answer"] = answer
    return batch


def answer_of(batch: Tensor) -> Any:
    """Return what is attached to that very tensor, if anything; tensors made of it have lost it."""
    return vars(batch).get("answer")


def _record(source: Tensor, size: int, work: Work, pool: Any) -> _Recorded:
    """Record `work` on a stream of its own, with memory of `pool`."""
    device = source.device
    current, apart = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    ready, done = torch.cuda.Event(), torch.cuda.Event()
    ready.record(current)
    with torch.inference_mode(), torch.cuda.device(device):
        with torch.cuda.stream(apart):
            apart.wait_event(ready)
            for _ in range(_WARM_UP):
                work(source, size)
            done.record(apart)
        current.wait_event(done)
        graph = torch.cuda.CUDAGraph()
        # Other threads may use the device meanwhile: their calls are no part of this recording.
        with torch.cuda.graph(graph, pool=pool, stream=apart, capture_error_mode="thread_local"):
            answer = work(source, size)
        return _Recorded(graph, _mapped(answer, lambda each: each))


def _mapped(answer: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return the answer with each tensor changed. Raises TypeError for anything else in it, which can't be recorded."""
    if isinstance(answer, Tensor):
        return change(answer)
    if type(answer) in (list, tuple):
        return type(answer)(_mapped(each, change) for each in answer)
    if type(answer) is dict:
        return {key: _mapped(each, change) for key, each in answer.items()}
    raise TypeError(f"the answer has a {type(answer).__name__}, and not tensors alone")


def _copied(made: Tensor, rows: int, size: int) -> Tensor:
    """Return a copy of the first `rows` of a tensor that has one row per request, or of a whole other tensor."""
    wanted = made[:rows] if made.dim() and made.shape[0] == size else made
    return torch.empty_like(wanted).copy_(wanted, non_blocking=True)
