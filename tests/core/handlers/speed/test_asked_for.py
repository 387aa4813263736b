"""What the yaml asks for is tried, measured and told, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.speed.accelerate import accelerate
from torchserve.core.handlers.speed.asked_for import try_asked_for
from torchserve.core.handlers.speed.autotune import Autotuner

from .test_accelerate import OwnInference, Ticking, handler_of

PLAIN, INT8 = "aten::linear", "quantized::linear_dynamic"
FAST = {PLAIN: 0.01, INT8: 0.005}


class Net(nn.Sequential):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 8))
        self.eval()


def measured(model: Any, seconds: dict[str, float], cls: type = BaseHandler, **config: Any) -> tuple[Any, Any]:
    handler = handler_of(model, cls)
    with Ticking(seconds) as clock:
        return handler, accelerate(handler, {"warmUp": [24], **config}, 4, clock)


def test_nothing_is_tried_unasked() -> None:
    handler, notes = measured(Net(), FAST)
    assert set(notes) == {"threads", "warm-up"}
    assert handler._faster_model is None


@pytest.mark.parametrize(
    ("seconds", "taken", "note"),
    [
        (FAST, True, "int8 linear layers: measured 2.00 for 1 and 2.00 for 4 times as fast; answers differ by at most"),
        (
            {PLAIN: 0.01, INT8: 0.015},
            False,
            "as loaded: int8 linear layers is measured 0.67 for 1 and 0.67 for 4 times",
        ),
    ],
)
def test_int8_is_taken_if_it_is_faster_and_its_answers_are_told(
    seconds: dict[str, float], taken: bool, note: str
) -> None:
    handler, notes = measured(Net(), seconds, warmUp={"shape": [24], "below": 2}, quantize="dynamic")
    assert notes["quantize"].startswith("as loaded: it was not measured")  # tokens, and the model takes none
    handler, notes = measured(Net(), seconds, quantize="dynamic")
    assert notes["quantize"].startswith(note)
    assert notes["quantize"].endswith("% of their largest value")
    assert (handler._faster_model is not None) == taken
    batch = torch.rand(3, 24)
    assert torch.equal(handler.inference(batch), handler.model(batch)) != taken


@pytest.mark.parametrize(
    ("config", "model", "cls", "note"),
    [
        ({"quantize": "static"}, Net(), BaseHandler, "as loaded: quantize must be dynamic or false, not 'static'"),
        (
            {"quantize": "dynamic"},
            Net(),
            OwnInference,
            "as loaded: it was not measured, as the model was not warmed up: nobody",
        ),
        ({"quantize": "dynamic", "warmUp": False}, Net(), BaseHandler, "as loaded: it was not measured"),
        ({"quantize": "dynamic"}, torch.relu, BaseHandler, "as loaded: the model is not a module of PyTorch"),
        ({"quantize": "dynamic"}, nn.ReLU().eval(), BaseHandler, "as loaded: only 0% of its weights"),
    ],
)
def test_why_nothing_is_tried(config: dict[str, Any], model: Any, cls: type, note: str) -> None:
    handler, notes = measured(model, FAST, cls, **config)
    assert notes["quantize"].startswith(note)
    assert handler._faster_model is None


def tried(keys: list[str], unit: str | None, model: Any = None) -> tuple[Any, dict[str, str]]:
    handler = handler_of(model or Net(), BaseHandler)
    with Ticking({"aten::relu": 0.02}) as clock, torch.inference_mode():
        tuner = Autotuner(handler, torch.linspace(-1, 1, 24), 4, clock)
        return handler, try_asked_for(handler, keys, tuner, 4, lambda: unit)


def test_bfloat16_needs_a_processor_that_has_it() -> None:
    handler, notes = tried(["bf16"], None)
    assert notes == {"bf16": "as loaded: this processor has neither AMX nor AVX512-BF16"}
    assert handler._faster_model is None


def test_bfloat16_is_measured_like_the_others() -> None:
    _, notes = tried(["bf16"], "AMX")
    assert notes["bf16"].startswith("as loaded: bfloat16 is measured 1.00 for 1 and 1.00 for 4 times as fast; answers")


def test_a_compiled_model_is_not_compiled_again() -> None:
    model = Net()
    model._orig_mod = None
    assert tried(["compile"], None, model)[1] == {"compile": "as loaded: pt2 has it compiled"}
