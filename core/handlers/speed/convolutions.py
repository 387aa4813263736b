"""Merges convolutions of a TorchScript graph for the CPU. Imports torch.

A convolution, the zero padding before it and the activation after it become one operator of oneDNN, whose weights are
laid out once. These are the operators that torch.compile generates for a CPU; unlike its output they need no compiler
and accept any batch size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .layouts import Layouts, Packed

_PLACES = {  # indexes of stride, padding, dilation, groups among a node's inputs
    "aten::_convolution": (3, 4, 5, 8),
    "aten::conv2d": (3, 4, 5, 6),
}
_ACTIVATIONS = {  # TorchScript's name -> oneDNN's; their scalar arguments are passed on
    "relu": "relu",
    "hardtanh": "hardtanh",
    "silu": "swish",
    "hardswish": "hardswish",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "leaky_relu": "leaky_relu",
}
_SPLIT_PADDING = 4


def freeze(script: Any, batch: torch.Tensor) -> Layouts:
    """Return `script` frozen, with each convolution merged that is reached when `batch` is run."""
    # Sizes are found by running a second copy: a graph that has been run can't be changed any more.
    frozen, tried = torch.jit.freeze(script), torch.jit.freeze(script)
    with _Sizes() as sizes:
        tried(batch)
    packed: list[Packed] = []
    for index, (node, twin) in enumerate(zip(_convolutions(frozen), _convolutions(tried), strict=True)):
        size = sizes.of.get(_weights(twin).data_ptr())
        if size is not None:
            packed.append(_Convolution(frozen, node, size).merge(f"packed_{index}"))
    torch._C._jit_pass_dce(frozen.graph)  # noqa: SLF001  (there is no public way to change a graph)
    torch._C._jit_pass_lint(frozen.graph)  # noqa: SLF001
    return Layouts(frozen, packed, len(batch))


class _Sizes(TorchDispatchMode):
    """A mode that records the input shapes of convolutions, by the address of their weights."""

    def __init__(self) -> None:
        super().__init__()
        self.of: dict[int, list[int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "conv" in func.name():
            self.of[args[1].data_ptr()] = list(args[0].shape)
        # TorchScript hands on the number of `x - 127` as a tensor, of which a mode is given the number.
        kinds = [argument.type for argument in func._schema.arguments]  # noqa: SLF001
        return func(*map(_as_declared, args, kinds), **(kwargs or {}))


def _as_declared(value: Any, kind: Any) -> Any:
    number = isinstance(value, int | float) and isinstance(kind, torch.TensorType)
    return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None) if number else value


def _convolutions(frozen: Any) -> list[Any]:
    return [node for node in nodes(frozen.graph) if node.kind() in _PLACES and _is_plain(node)]


def _weights(node: Any) -> Any:
    return list(node.inputs())[1].toIValue()


class _Convolution:
    """A convolution node of a frozen graph."""

    def __init__(self, frozen: Any, node: Any, size: list[int]) -> None:
        self._size = size
        self._frozen = frozen
        self._graph = frozen.graph
        self._node = node
        self._inputs = list(node.inputs())
        stride, padding, dilation, groups = (self._inputs[place].toIValue() for place in _PLACES[node.kind()])
        self._stride, self._padding, self._dilation = _pair(stride), _pair(padding), _pair(dilation)
        self._groups = groups

    def merge(self, name: str) -> Packed:
        """Replace the node, its padding and its activation by one operator. Its packed weights become the attribute
        `name`, and are returned.
        """
        pad, activation = self._pad_before(), self._activation_after()
        data = self._inputs[0]
        if pad is not None:
            left, _, top, _ = list(pad.inputs())[1].toIValue()
            data, self._padding = next(iter(pad.inputs())), [top, left]
            self._size = [*self._size[:2], self._size[2] - 2 * top, self._size[3] - 2 * left]
        packed = Packed(name, self._padding, self._stride, self._dilation, self._groups, self._size)
        graph = self._graph
        graph.setInsertPoint(self._node)
        attribute, scalars = "none", []
        if activation is not None:
            attribute = _ACTIVATIONS[_name(activation)]
            scalars = [graph.insertConstant(each.toIValue()) for each in list(activation.inputs())[1:]]
        listed = graph.insertNode(graph.create("prim::ListConstruct", scalars)).output()
        listed.setType(torch._C.ListType(torch._C.OptionalType(torch._C.NumberType.get())))  # noqa: SLF001
        settings = (self._padding, self._stride, self._dilation, self._groups, attribute)
        merged = graph.insertNode(
            graph.create(
                "mkldnn::_convolution_pointwise",
                [
                    data,
                    self._attribute(packed),
                    self._inputs[2],
                    *(graph.insertConstant(each) for each in settings),
                    listed,
                    graph.insertConstant(None),
                ],
            )
        )
        last = activation if activation is not None else self._node
        last.output().replaceAllUsesWith(merged.output())
        if activation is not None:
            activation.destroy()
        self._node.destroy()
        return packed

    def _attribute(self, packed: Packed) -> Any:
        """Return the weights in the layout that oneDNN chooses. They are an attribute, because a graph can't hold them
        as a constant.
        """
        weights = packed.lay_out(_weights(self._node), self._size[0])
        kind = torch._C.TensorType.get()  # noqa: SLF001
        self._frozen._c._register_attribute(packed.name, kind, weights)  # noqa: SLF001
        graph = self._graph
        node = graph.create("prim::GetAttr", [next(iter(graph.inputs()))])
        node.s_("name", packed.name)
        node.output().setType(kind)
        return graph.insertNode(node).output()

    def _pad_before(self) -> Any:
        """Return the node that pads the input with zeros as a convolution can, or None.

        None also if another node uses the padded tensor or the unpadded one.
        """
        pad = self._inputs[0].node()
        if pad.kind() not in {"aten::pad", "aten::constant_pad_nd"} or any(self._padding):
            return None
        data, widths, *rest = pad.inputs()
        if not _alone(self._inputs[0]) or not _alone(data) or not all(map(_is_constant, (widths, *rest))):
            return None
        sides, values = widths.toIValue(), [each.toIValue() for each in rest]
        if len(sides) != _SPLIT_PADDING or sides[0] != sides[1] or sides[2] != sides[3] or min(sides) < 0:
            return None
        return pad if all(value in ("constant", 0, None) for value in values) else None

    def _activation_after(self) -> Any:
        """Return the activation that is the only user of this convolution's output, or None."""
        made = self._node.output()
        if not _alone(made):
            return None
        user = next(iter(made.uses())).user
        known = user.kind().startswith("aten::") and _name(user) in _ACTIVATIONS
        return user if known and all(map(_is_constant, list(user.inputs())[1:])) else None


def _is_plain(node: Any) -> bool:
    """Return whether the node is a 2-d convolution with constant 32-bit weights."""
    inputs = list(node.inputs())
    if not all(map(_is_constant, inputs[1:])):
        return False
    weights, padding = _weights(node), inputs[_PLACES[node.kind()][1]].toIValue()
    transposed = node.kind() == "aten::_convolution" and inputs[6].toIValue()
    return (
        weights.dtype == torch.float32
        and weights.device.type == "cpu"
        and weights.ndim == 4
        and isinstance(padding, list)
        and not transposed
    )


def nodes(block: Any) -> Iterator[Any]:
    """Yield the nodes of a graph, those inside branches and loops included."""
    for node in list(block.nodes()):
        yield node
        for inner in node.blocks():
            yield from nodes(inner)


def _is_constant(value: Any) -> bool:
    return value.node().kind() == "prim::Constant"


def _alone(value: Any) -> bool:
    return len(list(value.uses())) == 1


def _name(node: Any) -> str:
    return node.kind().removeprefix("aten::").removesuffix("_")


def _pair(numbers: Any) -> Any:
    return list(numbers) * 2 if len(numbers) == 1 else list(numbers)
