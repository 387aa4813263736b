"""What a model says of its tensors: read from its yaml, learnt from what is loaded, and held against requests."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from torchserve.core.config.tensor_specs import read_signature
from torchserve.core.errors import BadRequest
from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.loading.signatures import signature_of
from torchserve.core.oip.signature import Signature, TensorSpec, check_signature
from torchserve.core.payload import Infer, TensorHead, WantedOutput


def test_a_yaml_says_names_types_and_shapes() -> None:
    said = {
        "inputs": [{"name": "image", "datatype": "FP32", "shape": [-1, 3, 224, 224]}, {"name": "size"}],
        "outputs": [{"name": "scores", "datatype": "FP32"}],
        "batchDimension": True,
    }
    assert read_signature(said) == Signature(
        (TensorSpec("image", "FP32", (-1, 3, 224, 224)), TensorSpec("size")), (TensorSpec("scores", "FP32"),), True
    )
    assert read_signature({}) is None


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"inputs": {"name": "x"}}, "inputs must be a list of 1 to 256 tensors"),
        ({"inputs": []}, "inputs must be a list of 1 to 256 tensors"),
        ({"inputs": [{"name": f"x{n}"} for n in range(257)]}, "inputs must be a list of 1 to 256"),
        ({"inputs": ["x"]}, "inputs: entry 1 must have name"),
        ({"inputs": [{"name": "x", "dtype": "FP32"}]}, "may have datatype and shape"),
        ({"outputs": [{"name": ""}]}, "outputs: entry 1: name must be a text of 1 to 256"),
        ({"outputs": [{"name": 3}]}, "name must be a text"),
        ({"inputs": [{"name": "x", "datatype": "float32"}]}, "datatype must be one of BOOL, UINT8.*not 'float32'"),
        ({"inputs": [{"name": "x", "datatype": ["FP32"]}]}, "datatype must be one of"),
        ({"inputs": [{"name": "x", "shape": [-2]}]}, "shape must be a list of sizes, -1 for any"),
        ({"inputs": [{"name": "x", "shape": [True]}]}, "shape must be a list"),
        ({"inputs": [{"name": "x", "shape": [1] * 33}]}, "shape must be a list"),
        ({"inputs": [{"name": "x", "shape": 3}]}, "shape must be a list"),
        ({"inputs": [{"name": "x"}, {"name": "x"}]}, "two of inputs have the same name"),
        ({"batchDimension": 1}, "batchDimension must be true or false, not 1"),
        ({"inputs": [{"name": "x", "shape": []}], "batchDimension": True}, "begin with the rows"),
    ],
)
def test_a_yaml_that_can_not_be_understood_is_told_and_not_used(
    said: dict[str, Any], told: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_signature(said) is None
    assert re.search(f"model-config.yaml: .*{told}.*; the model's inputs and outputs are not checked", caplog.text)


IMAGE = Signature((TensorSpec("a", "FP32", (-1, 3)), TensorSpec("b")), (TensorSpec("y"),))


def infer(*heads: tuple[str, str, tuple[int, ...]], outputs: tuple[str, ...] = ()) -> Infer:
    return Infer(tuple(TensorHead(*head) for head in heads), tuple(WantedOutput(name) for name in outputs))


A, B = ("a", "FP32", (2, 3)), ("b", "BYTES", (9,))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (infer(A), "Model m needs the inputs 'a', 'b', and 'b' is not there."),
        (infer(A, B, ("c", "FP32", (1,))), "Model m has the inputs 'a', 'b', and none named 'c'."),
        (infer(("a", "FP64", (2, 3)), B), "Input 'a' of model m is FP32, and the request's is FP64."),
        (
            infer(("a", "FP32", (2, 4)), B),
            r"has the shape \[-1, 3\], -1 being any size, and the request's has \[2, 4\].",
        ),
        (infer(("a", "FP32", (2, 3, 1)), B), r"and the request's has \[2, 3, 1\]."),
        (infer(A, B, outputs=("z",)), "Model m has no output 'z'; its outputs are 'y'."),
    ],
)
def test_a_request_that_does_not_fit_is_told_what_is_expected_and_what_was_given(asked: Infer, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        check_signature(asked, IMAGE, "m")


def test_a_request_that_fits_passes() -> None:
    check_signature(infer(B, A, outputs=("y",)), IMAGE, "m")
    check_signature(infer(("any", "FP32", ())), Signature(), "m")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (infer(("a", "FP32", ())), r"has the shape \[\]; the first dimension"),
        (infer(("a", "FP32", (0, 2))), "is the number of rows, 1 at least"),
        (infer(("a", "FP32", (2, 2)), ("b", "FP32", (3, 2))), "'a' has 2 rows and input 'b' has 3"),
    ],
)
def test_with_a_batch_dimension_all_inputs_have_as_many_rows(asked: Infer, told: str) -> None:
    with pytest.raises(BadRequest, match=told):
        check_signature(asked, Signature(batch_dimension=True), "m")


class Linear(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


def of(model: Any, kind: type = BaseHandler) -> Signature | None:
    handler = kind()
    handler.model = model
    return signature_of(handler)


def test_torch_export_tells_types_and_shapes() -> None:
    batch = torch.export.Dim("batch", min=1, max=8)
    program = torch.export.export(Linear(), (torch.ones(2, 3),), dynamic_shapes={"x": {0: batch}})
    assert of(program.module()) == Signature((TensorSpec("x", "FP32", (-1, 3)),))


@pytest.mark.parametrize("model", [None, Linear(), SimpleNamespace(graph=3), 7])
def test_other_models_tell_nothing(model: Any) -> None:
    assert of(model) is None


def test_a_handler_with_hooks_of_its_own_takes_what_it_will() -> None:
    class Own(BaseHandler):
        def preprocess(self, data: Any) -> Any:
            return data

    program = torch.export.export(Linear(), (torch.ones(2, 3),))
    assert of(program.module(), Own) is None
