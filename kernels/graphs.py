"""Graphs: work that a CUDA device has recorded once for each size of batch, and does again at one call.

What waits for what: a recording for what its tensors are made of; a batch, before it is laid into the buffer that all
share, until the one before has been read and its answer copied, on whatever streams they are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_FIRST = 2  # runs before one is recorded: what a first one loads, chooses and compiles can't be
Work = Callable[[Tensor, int], Any]
"""Of the shared buffer and a number of rows, what it makes of so many: tensors, alone or in lists, tuples and dicts."""


class Unrecorded(Exception):
    """The work can't be recorded; the text says why."""


@dataclass(frozen=True)
class _Recorded:
    graph: Any
    answer: Any


class Graphs:
    """`work` for each of `sizes` rows. It reads `source` alone, and what never changes. Any thread may use it.

    The answers are copies: the next batch writes over what the graph has written. Raises Unrecorded.
    """

    def __init__(self, source: Tensor, sizes: Iterable[int], work: Work) -> None:
        self.source = source
        self._device = source.device
        self._lock = threading.Lock()
        self._read = torch.cuda.Event()
        self._recorded: dict[int, _Recorded] = {}
        pool = None
        for size in sorted(sizes, reverse=True):  # the largest one's memory does for the others
            try:
                made = _record(source, size, work, pool)
            except Exception as error:
                raise Unrecorded(f"a batch of {size}: {type(error).__name__}: {error}") from error
            self._recorded[size] = made
            pool = made.graph.pool()
        self.sizes = sorted(self._recorded)

    def size(self, rows: int) -> int | None:
        """The least size that so many rows fit in, if there is one."""
        return next((size for size in self.sizes if size >= rows), None)

    def run(self, rows: int, fill: Callable[[Tensor], object]) -> Any:
        """The answers of the first `rows` rows, on the current stream, where `fill` lays into the buffer what they are
        made of. The other rows are what the buffer has held before.
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
    """`model` of so many rows like `row`, which is on its device. Raises Unrecorded."""
    if row.device.type != "cuda":
        raise Unrecorded(f"the model runs on {row.device.type}")
    source = torch.zeros((max(sizes), *row.shape), dtype=row.dtype, device=row.device)
    return Graphs(source, sizes, lambda source, rows: model(source[:rows]))


def answered(batch: Tensor, answer: Any) -> Tensor:
    """`batch`, with what the model has made of it already."""
    vars(batch)["answer"] = answer
    return batch


def answer_of(batch: Tensor) -> Any:
    """What goes with that very batch, if anything: one that was made of it has lost it."""
    return vars(batch).get("answer")


def _record(source: Tensor, size: int, work: Work, pool: Any) -> _Recorded:
    device = source.device
    current, apart = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    ready, done = torch.cuda.Event(), torch.cuda.Event()
    ready.record(current)
    with torch.inference_mode(), torch.cuda.device(device):
        with torch.cuda.stream(apart):
            apart.wait_event(ready)
            for _ in range(_FIRST):
                work(source, size)
            done.record(apart)
        current.wait_event(done)
        graph = torch.cuda.CUDAGraph()
        # Other threads may be at work on the device: their calls are none of this recording's.
        with torch.cuda.graph(graph, pool=pool, stream=apart, capture_error_mode="thread_local"):
            answer = work(source, size)
        return _Recorded(graph, _mapped(answer, lambda each: each))


def _mapped(answer: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same with each tensor changed. Raises TypeError for what is neither, as nobody could tell what it is of."""
    if isinstance(answer, Tensor):
        return change(answer)
    if type(answer) in (list, tuple):
        return type(answer)(_mapped(each, change) for each in answer)
    if type(answer) is dict:
        return {key: _mapped(each, change) for key, each in answer.items()}
    raise TypeError(f"the answer has a {type(answer).__name__}, and not tensors alone")


def _copied(made: Tensor, rows: int, size: int) -> Tensor:
    wanted = made[:rows] if made.dim() and made.shape[0] == size else made
    return torch.empty_like(wanted).copy_(wanted, non_blocking=True)
