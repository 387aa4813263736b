"""Layouts: the weights of a frozen copy in the memory layouts that oneDNN wants for a batch. Imports torch. CPU only.

Which layout a convolution wants depends on the rows of the batch and on the number of threads. Given another one, it
lays its weights out anew in each call: a single layer of EfficientNet-Lite0 takes 24 ms for that, longer than a whole
picture. So there is a script for each set of layouts. All of them share their code, and each layout of a layer's
weights.

Layouts are made within `learning`, by whoever tries and warms up a model, for the batch sizes and threads that it runs.
Other sizes get the layouts of the next smaller one that is known.
"""

from __future__ import annotations

import bisect
import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

_state = threading.local()


@contextmanager
def learning() -> Iterator[None]:
    """Have this thread's batches get the layouts that they want, which are made where there are none yet."""
    _state.learns = True
    try:
        yield
    finally:
        _state.learns = False


@dataclass(frozen=True, slots=True)
class Packed:
    """The weights of a merged convolution, which are the attribute `name` of its script, and what their layout depends
    on.
    """

    name: str
    padding: list[int]
    stride: list[int]
    dilation: list[int]
    groups: int
    size: list[int]
    """The shape of its input for a batch of any number of rows."""

    def lay_out(self, weights: torch.Tensor, rows: int) -> torch.Tensor:
        """Return the dense `weights` as oneDNN wants them for so many rows and the current number of threads.

        Without the input's size it may choose a layout that is forty times slower.
        """
        settings = (self.padding, self.stride, self.dilation, self.groups)
        return torch.ops.mkldnn._reorder_convolution_weight(weights, *settings, [rows, *self.size[1:]])  # noqa: SLF001


class Layouts:
    """A frozen script whose convolutions are `packed` for batches of `rows` rows and the current number of threads.

    Further layouts take `room` bytes at most, by default as many as the first ones.
    """

    def __init__(self, script: Any, packed: Sequence[Packed], rows: int, room: int | None = None) -> None:
        self._packed = packed
        kept = [script._c.getattr(each.name) for each in packed]  # noqa: SLF001
        self._kept = [{_kind_of(weights): weights} for weights in kept]  # for each convolution, by layout
        self._room = sum(map(_bytes_of, kept)) if room is None else room
        self._first = tuple(map(_kind_of, kept))
        self._scripts = {self._first: script}
        self._known = {torch.get_num_threads(): ([rows], [script])}  # threads -> batch sizes, ascending, and scripts
        self.script = script

    def __call__(self, data: torch.Tensor) -> Any:
        """Return the output for a batch."""
        return self.choose(len(data))(data)

    def choose(self, rows: int) -> Any:
        """Return the script to run for so many rows with the current number of threads."""
        threads = torch.get_num_threads()
        sizes, scripts = self._known.get(threads, ((), ()))
        place = bisect.bisect_right(sizes, rows)
        if getattr(_state, "learns", False) and rows not in sizes:
            script = self._lay_out(rows)
            # Other threads may read the lists meanwhile, so these are new ones.
            self._known[threads] = (
                [*sizes[:place], rows, *sizes[place:]],
                [*scripts[:place], script, *scripts[place:]],
            )
            return script
        return scripts[max(place - 1, 0)] if scripts else self.script

    def _lay_out(self, rows: int) -> Any:
        """Return the script whose convolutions are as oneDNN wants them now for so many rows."""
        kinds = tuple(self._lay_one_out(place, rows) for place in range(len(self._packed)))
        script = self._scripts.get(kinds)
        if script is None:
            script = self._scripts[kinds] = copy.copy(self.script)  # with the same code, and attributes of its own
            for each, kept, kind in zip(self._packed, self._kept, kinds, strict=True):
                script._c.setattr(each.name, kept[kind])  # noqa: SLF001
        return script

    def _lay_one_out(self, place: int, rows: int) -> bytes:
        kept = self._kept[place]
        weights = self._packed[place].lay_out(kept[self._first[place]].to_dense(), rows)
        kind = _kind_of(weights)
        if kind not in kept:
            if _bytes_of(weights) > self._room:
                return self._first[place]
            self._room -= _bytes_of(weights)
            kept[kind] = weights
        return kind


def _kind_of(weights: torch.Tensor) -> bytes:
    """Return what tells a layout from others."""
    return bytes(torch.ops.mkldnn._get_mkldnn_serialized_md(weights).tolist())  # noqa: SLF001


def _bytes_of(weights: torch.Tensor) -> int:
    return torch.ops.mkldnn._nbytes(weights)  # noqa: SLF001
