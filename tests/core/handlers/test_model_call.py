"""Handlers that call other models are tested without a server, and told so where there is none."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from torchserve.core.handlers.context import Context
from torchserve.core.handlers.model_call import ModelOrder
from ts.handler_utils.model_call import ModelCallFailed
from ts.torch_handler.unit_tests.test_utils.mock_context import MockContext


@pytest.mark.parametrize(
    ("value", "body"), [("text", b"text"), (b"bytes", b"bytes"), ([1, {"a": None}], b'[1, {"a": null}]')]
)
def test_functions_answer_calls(value: Any, body: bytes) -> None:
    context = MockContext()
    asked: list[Any] = []
    context.models["other"] = lambda data: asked.append(data) or value
    assert context.predict_blocking("other", {"x": 1}, version="2.0", timeout=1.0, idx=0).body == body
    assert asyncio.run(context.predict("other", "more")).body == body
    assert asked == [{"x": 1}, "more"]


def test_a_model_that_is_not_there() -> None:
    context = MockContext()
    with pytest.raises(ModelCallFailed, match="Model not found: gone") as caught:
        context.predict_blocking("gone", "x")
    assert (caught.value.status, caught.value.error_code) == (404, 404)


def test_without_a_server_it_says_so() -> None:
    context = Context("m", ".", {}, 1, None, "")
    with pytest.raises(RuntimeError, match=r"no server is connected.*MockContext"):
        context.predict_blocking("other", "x")


@pytest.mark.parametrize("timeout", [0, -1.0, float("nan")])
def test_a_timeout_is_positive(timeout: float) -> None:
    with pytest.raises(ValueError, match="timeout"):
        ModelOrder("m", "x", timeout=timeout)
