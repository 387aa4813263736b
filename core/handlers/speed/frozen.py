"""A frozen copy of a model, which computes the same function faster. Imports torch. CPU only.

The copy is a TorchScript graph with constant weights, folded batch norms and merged convolutions. The handler keeps its
own model, which runs again as soon as it is no longer what was frozen: after a change of its weights, modules, hooks or
mode.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch.jit._trace import TracerWarning

from .convolutions import freeze, nodes
from .outputs_close import outputs_close
from .snapshot import Snapshot, Uncopied

LARGEST = 256 << 20  # bytes of weights up to which a model is frozen unless the yaml asks for it: they are kept twice

_KEEPS = "it keeps something of its calls"


class Frozen:
    """A frozen copy of `model` for batches of rows like `row`, of at least `least` rows. The model is run to make it.

    Raises Uncopied for a model that does more than compute an output, and torch's errors for one that can't be traced
    or frozen.
    """

    def __init__(self, model: Any, row: torch.Tensor) -> None:
        self.least = 1
        self._row = (row.shape, row.dtype, row.device)
        self._snapshot = Snapshot(model)
        with warnings.catch_warnings(record=True) as told, torch.no_grad():
            warnings.simplefilter("ignore")  # torch.jit is deprecated, and has no replacement for this
            warnings.simplefilter("always", TracerWarning)
            kept = _kept(model)
            model(row[None])
            if not _same(kept, _kept(model)) or not self._snapshot.holds(model):
                raise Uncopied(_KEEPS)
            script = model if isinstance(model, torch.jit.ScriptModule) else _traced(model, row)
            self._run = freeze(script, row[None])
            if any(node.kind() == "prim::SetAttr" for node in nodes(self._run.script.graph)):
                raise Uncopied(_KEEPS)
        unseen = [str(each.message) for each in told if issubclass(each.category, TracerWarning)]
        if unseen:  # Python code depends on a tensor's values or on its shape
            raise Uncopied(f"it can't be traced: {unseen[0].partition('. ')[0]}")

    def instead_of(self, model: Any, data: Any) -> Any:
        """Return what to call with `data`: the copy if `model` is unchanged and `data` has enough rows like the
        example, otherwise `model`.
        """
        if not isinstance(data, torch.Tensor) or (data.shape[1:], data.dtype, data.device) != self._row:
            return model
        return self._run if len(data) >= self.least and self._snapshot.holds(model) else model


def parameter_bytes(model: Any) -> int:
    """Return the bytes of the model's parameters."""
    return sum(each.numel() * each.element_size() for each in model.parameters())


def _traced(model: Any, row: torch.Tensor) -> Any:
    pair, triple = torch.stack([row] * 2), torch.stack([row] * 3)
    traced: Any = torch.jit.trace(model, pair, check_trace=False, strict=False)
    traced.eval()
    if not outputs_close(traced(triple), model(triple), row.device):
        raise Uncopied("traced, it answers otherwise")
    return traced


def _kept(model: Any) -> list[tuple[Any, int]]:
    """Return what a call may change in Python attributes. A script has none."""
    if isinstance(model, torch.jit.ScriptModule):
        return []
    values = [value for module in model.modules() for value in vars(module).values()]
    return [(value, len(value) if isinstance(value, list | dict | set) else 0) for value in values]


def _same(before: list[tuple[Any, int]], after: list[tuple[Any, int]]) -> bool:
    return len(before) == len(after) and all(
        one is other and size == then for (one, size), (other, then) in zip(before, after, strict=True)
    )
