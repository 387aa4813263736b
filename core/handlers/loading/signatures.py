"""Learns the inputs and outputs of a loaded model: of TorchScript the names, of ONNX and torch.export types and shapes.

They are those of a request only where nothing stands between the two: with BaseHandler's own hooks. Imports torch.
"""

from __future__ import annotations

import logging
from typing import Any

import torch

from ...oip.signature import Signature, TensorSpec
from .onnx import is_session

log = logging.getLogger(__name__)

_HOOKS = ("handle", "preprocess", "inference", "postprocess")
_TORCH = {
    torch.bool: "BOOL", torch.uint8: "UINT8", torch.int8: "INT8", torch.int16: "INT16", torch.int32: "INT32",
    torch.int64: "INT64", torch.float16: "FP16", torch.bfloat16: "BF16", torch.float32: "FP32", torch.float64: "FP64",
}  # fmt: skip
_ONNX = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16", "bfloat16": "BF16", "float": "FP32",
    "double": "FP64", "string": "BYTES",
}  # fmt: skip


def signature_of(handler: Any) -> Signature | None:
    """Return the signature of a BaseHandler's model, None if it can't be told or the handler's hooks are its own."""
    base = next(cls for cls in type(handler).__mro__ if cls.__name__ == "BaseHandler")
    if any(getattr(type(handler), hook) is not getattr(base, hook) for hook in _HOOKS):
        return None
    model = handler.model
    try:
        if is_session(model):
            return _of_session(model)
        if isinstance(model, torch.jit.ScriptModule):
            return _of_script(model)
        return _of_exported(model)
    except Exception as error:  # noqa: BLE001  a model that does not tell can be served all the same
        log.warning("the model's inputs and outputs are not known: %s: %s", type(error).__name__, error)
        return None


def _of_session(session: Any) -> Signature:
    def spec(each: Any) -> TensorSpec:
        datatype = _ONNX.get(str(each.type).removeprefix("tensor(").removesuffix(")"), "")
        shape = tuple([size if isinstance(size, int) and size >= 0 else -1 for size in each.shape])
        return TensorSpec(each.name, datatype, shape)

    return Signature(tuple(map(spec, session.get_inputs())), tuple(map(spec, session.get_outputs())))


def _of_script(model: Any) -> Signature | None:
    arguments = model.forward.schema.arguments[1:]
    if any(str(each.type) != "Tensor" or each.has_default_value() for each in arguments):
        return None
    return Signature(tuple([TensorSpec(each.name) for each in arguments]))


def _of_exported(module: Any) -> Signature | None:
    """Return the signature of torch.export's module, whose graph has a placeholder with an example for each input."""
    graph = getattr(module, "graph", None)
    if not isinstance(module, torch.fx.GraphModule) or graph is None:
        return None
    inputs = [_of_node(node) for node in graph.nodes if node.op == "placeholder"]
    return Signature(tuple(inputs)) if inputs and all(each.shape is not None for each in inputs) else None


def _of_node(node: Any) -> TensorSpec:
    value = node.meta.get("val")
    if not isinstance(value, torch.Tensor):
        return TensorSpec(str(node.target))
    shape = tuple([size if type(size) is int else -1 for size in value.shape])
    return TensorSpec(str(node.target), _TORCH.get(value.dtype, ""), shape)
