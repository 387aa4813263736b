"""Whether a model is still what a faster copy of it was made from. Imports torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch


class Uncopied(Exception):
    """An error for a model of which no faster copy is made. The message says why."""


class Snapshot:
    """A record of a model's modules, weights, hooks and mode.

    Raises Uncopied for a model that is in training mode or has hooks.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        if model.training:
            raise Uncopied("it is in training mode")
        self._hooks = [hooks for module in model.modules() for hooks in _hooks(module)]
        if any(self._hooks):
            raise Uncopied("it has hooks")
        self._parts = list(_parts(model))
        self._weights = list(_weights(model))

    def holds(self, model: Any) -> bool:
        """Return whether `model` is the one that was recorded, and nothing of it has changed."""
        if model is not self._model or model.training or any(self._hooks):
            return False
        return all(held.get(name) is part for held, name, part in self._parts) and all(
            tensor._version == version and tensor.data_ptr() == place  # noqa: SLF001
            for tensor, version, place in self._weights
        )


def _parts(model: Any) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """Yield where modules, parameters and buffers are held. Those of a script can't be replaced."""
    if not isinstance(model, torch.jit.ScriptModule):
        for module in model.modules():
            for held in (module._modules, module._parameters, module._buffers):  # noqa: SLF001
                yield from ((held, name, part) for name, part in held.items())


def _weights(model: Any) -> Iterator[tuple[torch.Tensor, int, int]]:
    for tensor in itertools.chain(model.parameters(), model.buffers()):
        yield tensor, tensor._version, tensor.data_ptr()  # noqa: SLF001


def _hooks(module: Any) -> tuple[Any, ...]:
    return module._forward_hooks, module._forward_pre_hooks  # noqa: SLF001
