"""Copies of a model that compute it another way: in bfloat16, with int8 linear layers, or compiled. Imports torch.

Each stands in for the handler's own model, which runs again as soon as it is no longer what was copied. All but the
compiled one move answers by more than rounding, so a copy is made only if the model's yaml asks for it.
"""

from __future__ import annotations

import copy
import importlib
import itertools
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .snapshot import Snapshot, Uncopied

_LINEAR_SHARE = 0.5  # share of the weights, embeddings aside, that must lie in linear layers: int8 gains only there


class Copied:
    """A copy of `model`, made by `convert`, that takes the same tensor. Raises Uncopied, and whatever `convert` raises.

    If `row` is given, the copy takes batches of rows like it only.
    """

    def __init__(
        self, model: Any, convert: Callable[[Any], Callable[..., Any]], row: torch.Tensor | None = None
    ) -> None:
        self._snapshot = Snapshot(model)
        self._row = None if row is None else (row.shape, row.dtype, row.device)
        self._run = convert(model)

    def instead_of(self, model: Any, data: Any) -> Any:
        """Return what to call with `data`: the copy if it stands for `model` and takes `data`, otherwise `model`."""
        if not isinstance(data, torch.Tensor) or not self._snapshot.holds(model):
            return model
        if self._row is not None and (data.shape[1:], data.dtype, data.device) != self._row:
            return model
        return self._run


def bfloat16_unit(capabilities: Any = torch.cpu) -> str | None:
    """Return the name of the processor's unit for bfloat16, None if it has none. Tests replace `capabilities`."""
    if capabilities._is_amx_tile_supported():  # noqa: SLF001
        return "AMX"
    return "AVX512-BF16" if capabilities._is_avx512_bf16_supported() else None  # noqa: SLF001


def in_bfloat16(model: Any) -> Callable[[torch.Tensor], Any]:
    """Return a copy of the model with weights in bfloat16, whose input and output have the types of the model's own."""
    if any(each.is_floating_point() and each.dtype != torch.float32 for each in model.parameters()):
        raise Uncopied("its weights are not all in float32")
    converted = copy.deepcopy(model).to(torch.bfloat16)

    def run(data: torch.Tensor) -> Any:
        output = converted(data.to(torch.bfloat16) if data.is_floating_point() else data)
        return pytree.tree_map(_widened, output)

    return run


def _widened(value: Any) -> Any:
    narrow = isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16
    return value.float() if narrow else value


def with_int8_linears(model: Any) -> Callable[[torch.Tensor], Any]:
    """Return a copy of the model whose linear layers multiply int8 numbers. All else shares the model's weights."""
    if isinstance(model, torch.jit.ScriptModule):
        raise Uncopied("a TorchScript model's layers can't be replaced")
    if (share := linear_share(model)) < _LINEAR_SHARE:
        raise Uncopied(f"only {share:.0%} of its weights, embeddings aside, are those of linear layers")
    shared: dict[int, Any] = {id(each): each for each in itertools.chain(model.parameters(), model.buffers())}
    converted = torch.nn.Sequential(copy.deepcopy(model, shared))  # a module around it, as it may be one such layer
    layers: dict[int, _Int8Linear] = {}
    for module in list(converted.modules()):
        for name, part in module._modules.items():  # noqa: SLF001
            if type(part) is torch.nn.Linear and part.weight.dtype == torch.float32:
                module._modules[name] = layers.setdefault(id(part), _Int8Linear(part))  # noqa: SLF001

    def run(data: torch.Tensor) -> Any:
        with _no_fused_layers():
            return converted(data)

    return run


class _Int8Linear(torch.nn.Module):
    """A linear layer with int8 weights, scaled by row, whose input is scaled to int8 for each batch."""

    def __init__(self, layer: torch.nn.Linear) -> None:
        super().__init__()
        # Models read these of their layers. They are shared with the model, so they cost no memory.
        self.weight, self.bias = layer.weight, layer.bias
        self.in_features, self.out_features = layer.in_features, layer.out_features
        weight = layer.weight.detach()
        # Without VNNI two products are added in 16 bits. Weights of seven bits never overflow them; fewer bits of the
        # input, whose scale is one for all of it, would cost more: the cosine of
        # MiniLM's vectors to what they were is 0.994 so, and 0.984 with seven bits of the input.
        most = 127 if torch.cpu._is_vnni_supported() else 63  # noqa: SLF001
        scales = weight.abs().amax(dim=1).clamp(min=1e-12).double() / most
        zeros = torch.zeros(len(weight), dtype=torch.int64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such tensors are deprecated, and nothing else is packed for int8 products
            int8 = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        self._packed = torch.ops.quantized.linear_prepack(int8, None if layer.bias is None else layer.bias.detach())

    def forward(self, data: torch.Tensor) -> torch.Tensor:
        return torch.ops.quantized.linear_dynamic(data, self._packed)


@contextmanager
def _no_fused_layers() -> Iterator[None]:
    """Have torch's transformer layers call their linear layers; they read these layers' float weights otherwise."""
    mha = torch.backends.mha
    before = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(before)


def linear_share(model: torch.nn.Module) -> float:
    """Return the share of the weights that lies in linear layers. Embeddings, which are looked up, don't count."""
    modules = list(model.modules())
    looked_up = {id(each.weight) for each in modules if isinstance(each, torch.nn.Embedding | torch.nn.EmbeddingBag)}
    linear = {id(each.weight) for each in modules if type(each) is torch.nn.Linear}
    sizes = {id(each): each.numel() for each in model.parameters() if id(each) not in looked_up}
    return sum(size for key, size in sizes.items() if key in linear) / max(1, sum(sizes.values()))


def compiled(model: Any, row: torch.Tensor, size: int, **options: Any) -> Callable[[torch.Tensor], Any]:
    """Return the model as torch.compile makes it with these options, for a single row and for any larger batch.

    It is compiled when this returns.
    """
    if isinstance(model, torch.jit.ScriptModule):
        raise Uncopied("a TorchScript model can't be compiled")
    run = torch.compile(model, **options)
    # torch.compile takes a first dimension of 1 for a constant, and with the mark all others for one variable.
    run(row[None])
    if size > 1:
        batch = torch.stack([row] * max(size, 2))
        importlib.import_module("torch._dynamo").mark_dynamic(batch, 0)
        run(batch)
    return run
