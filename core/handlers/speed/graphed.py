"""Runs a model as CUDA graphs, one per batch size, if its yaml asks for it. Imports our kernels."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from ....kernels.graphs import Graphs, Unrecorded, answer_of, record_rows
from ....kernels.pipeline import record_images
from ..images.fused_images import FusedImages, picture
from .example_input import example_input, hooks_are_builtin, restore_state
from .outputs_close import outputs_close

log = logging.getLogger(__name__)

_OWN_GRAPHS = ("reduce-overhead", "max-autotune")  # modes of torch.compile that record CUDA graphs themselves


@dataclass(frozen=True)
class Graphed:
    """A model with its recorded graphs. Each row of a batch must be like `row`."""

    model: Any
    row: torch.Tensor
    rows: Graphs | None
    """Graphs that take tensors. None if the graphs take pictures: they run in preprocessing and leave the answers at
    the batch.
    """

    def __call__(self, model: Any, batch: torch.Tensor) -> Any:
        """Return the output of `model` for the batch, by a graph if `model` was recorded and the batch fits one."""
        if model is not self.model:
            return model(batch)
        known = answer_of(batch)
        if known is not None:
            return known
        rows, row = self.rows, self.row
        if rows is None or (batch.shape[1:], batch.dtype, batch.device) != (row.shape, row.dtype, row.device):
            return model(batch)
        if not len(batch) or rows.size(len(batch)) is None:
            return model(batch)
        return rows.run(len(batch), lambda source: source[: len(batch)].copy_(batch, non_blocking=True))


def graph(handler: Any, config: Mapping[str, Any], batch_size: int) -> dict[str, str]:
    """Record the handler's model if `cudaGraphs` in its yaml is true, and return a note about it. Never raises."""
    asked = config.get("cudaGraphs", False)
    if asked is False:
        return {}
    try:
        if asked is not True:
            raise Unrecorded(f"cudaGraphs must be true or false, not {asked!r}")
        with restore_state(handler):
            note = _recorded(handler, config, sizes(handler, batch_size))
    except Exception as error:  # noqa: BLE001  a model or driver may raise anything, and the model runs without graphs
        note = f"none: {error if isinstance(error, Unrecorded) else f'{type(error).__name__}: {error}'}"
        log.warning("CUDA graphs: %s", note)
    return {"cuda graphs": note}


def sizes(handler: Any, batch_size: int) -> list[int]:
    """Return the batch sizes to record: those of `paddedBatchSizes`, or else the powers of two and the
    largest batch.
    """
    most = getattr(handler.handle, "micro_batch_size", batch_size)
    if handler.padded_batch_sizes:
        return [each for each in handler.padded_batch_sizes if each <= handler.padded_size(most)]
    return sorted({1 << power for power in range(most.bit_length()) if 1 << power <= most} | {most})


def _recorded(handler: Any, config: Mapping[str, Any], sizes: Sequence[int]) -> str:
    model, row = handler.model, example_input(handler, config.get("warmUp"))
    if row is None:
        raise Unrecorded("nobody knows what the model is given: warmUp in the yaml can name a row's shape")
    if _makes_graphs(model, config):
        raise Unrecorded("torch.compile makes the model's own")
    fused = _fused(handler)
    if fused is not None and fused.output is not None:
        graphs = record_images(row.device, fused.output, *fused.plan.colours(3), sizes, model)
        fused = replace(fused, graphs=graphs)
        _check(lambda size: fused.batch([picture()] * size), Graphed(model, row, None), sizes)
        handler._fusion = replace(handler._fusion, fused=fused)  # noqa: SLF001
        handler._graphed = Graphed(model, row, None)  # noqa: SLF001
        of = "pictures, preprocessing included"
    else:
        graphs = record_rows(row, sizes, model)
        made = Graphed(model, row, graphs)
        _check(lambda size: torch.stack([row] * size), made, sizes)
        handler._graphed = made  # noqa: SLF001
        of = "tensors"
    return f"of {of}, in batches of {', '.join(map(str, sizes))}"


def _check(batch_of: Callable[[int], Any], made: Graphed, sizes: Sequence[int]) -> None:
    """Raise Unrecorded if the graphs' answers differ from the model's."""
    for size in sizes:
        with torch.inference_mode():
            batch = batch_of(size)
            if not outputs_close(made(made.model, batch), made.model(batch), made.row.device):
                raise Unrecorded(f"they change the answers of a batch of {size}")


def _fused(handler: Any) -> FusedImages | None:
    """Return the fused preprocessing whose result goes to the model unseen by the model author's code, or None."""
    hooks = ("preprocess", "combine", "inference", "handle")
    if not hasattr(handler, "_find_fusion") or not hooks_are_builtin(handler, *hooks):
        return None
    fused = handler._find_fusion().fused  # noqa: SLF001
    return fused if fused is not None and fused.plan.takes(3) and fused.device.type == "cuda" else None


def _makes_graphs(model: Any, config: Mapping[str, Any]) -> bool:
    told = config.get("pt2")
    options = told.get("compile", told) if isinstance(told, dict) else {"backend": told}
    own = options.get("mode") in _OWN_GRAPHS or "cudagraphs" in str(options)
    return hasattr(model, "_orig_mod") and own
