"""BaseHandler with an ONNX model, y = x * x and, of a second model, also y = x + x."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.context import Context, RequestProcessor
from torchserve.core.handlers.loading.signatures import signature_of
from torchserve.core.oip.signature import Signature, TensorSpec


def field(number: int, value: int | str | bytes) -> bytes:
    """One field of a protobuf message: a small whole number, or a text or message with its length."""
    if isinstance(value, int):
        return bytes([number << 3, value])
    value = value.encode() if isinstance(value, str) else value
    return bytes([number << 3 | 2, len(value)]) + value


def value_info(name: str) -> bytes:
    """float32 [n, 2]."""
    shape = field(1, field(2, "n")) + field(1, field(1, 2))
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def model(*operators: str) -> bytes:
    """ONNX of a graph that applies each operator to x and x; the outputs are called y0, y1, ..."""
    nodes = b"".join(
        field(1, field(1, "x") + field(1, "x") + field(2, f"y{at}") + field(4, kind))
        for at, kind in enumerate(operators)
    )
    outputs = b"".join(field(12, value_info(f"y{at}")) for at in range(len(operators)))
    graph = nodes + field(2, "g") + field(11, value_info("x")) + outputs
    head = field(1, 8) + field(8, field(1, "") + field(2, 17))
    assert len(graph) < 256
    return head + bytes([7 << 3 | 2, len(graph) & 127 | 128, len(graph) >> 7]) + graph


def handler(folder: Path, content: bytes) -> tuple[BaseHandler, Context]:
    (folder / "model.onnx").write_bytes(content)
    context = Context("m", str(folder), {"model": {"serializedFile": "model.onnx"}}, 4, None, "")
    context.request_processor = [RequestProcessor({})]
    return BaseHandler(), context


def test_it_is_loaded_as_a_session_and_fed(tmp_path: Path) -> None:
    made, context = handler(tmp_path, model("Mul"))
    made.initialize(context)
    assert made.initialized
    assert [each.name for each in made.model.get_inputs()] == ["x"]
    assert made.handle([[1.0, 3.0], [2.0, 0.5]], context) == [[1.0, 9.0], [4.0, 0.25]]
    # As handlers written for TorchServe call it.
    (squares,) = made.model.run(None, {"x": np.float32([[3, 4]])})
    assert squares.tolist() == [[9.0, 16.0]]


def test_its_inputs_and_outputs_are_learnt(tmp_path: Path) -> None:
    made, context = handler(tmp_path, model("Mul", "Add"))
    made.initialize(context)
    specs = [TensorSpec(name, "FP32", (-1, 2)) for name in ("x", "y0", "y1")]
    assert signature_of(made) == Signature(tuple(specs[:1]), tuple(specs[1:]))
    made.context = context
    (first, second) = made.handle([{"x": np.ones((1, 2), "<f4")}, {"x": np.full((2, 2), 3, "<f4")}], context)
    assert [each.tolist() for each in second] == [[[9, 9], [9, 9]], [[6, 6], [6, 6]]]
    assert [each.tolist() for each in first] == [[[1, 1]], [[2, 2]]]


def test_several_outputs_come_as_a_list(tmp_path: Path) -> None:
    made, context = handler(tmp_path, model("Mul", "Add"))
    made.initialize(context)
    squares, sums = made.inference(torch.tensor([[1.0, 3.0]]))
    assert (squares.tolist(), sums.tolist()) == ([[1.0, 9.0]], [[2.0, 6.0]])


def test_what_is_no_onnx_is_told(tmp_path: Path) -> None:
    made, context = handler(tmp_path, b"no model")
    with pytest.raises(Exception, match=r"model.onnx"):
        made.initialize(context)


def test_without_onnxruntime_the_remedy_is_told(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    made, context = handler(tmp_path, model("Mul"))
    with pytest.raises(RuntimeError, match=r"No model weights could be loaded.*pip install onnxruntime"):
        made.initialize(context)
