"""What each kind of result becomes; the table was compared with TorchServe 0.12."""

from __future__ import annotations

import decimal
import io

import numpy as np
import pytest
import torch

from torchserve.core.backend.outputs import UnsupportedOutput, clean, encode_value, http_status, make_result
from torchserve.core.handlers.context import RequestProcessor
from torchserve.core.wire.messages import Result


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ("é", "é".encode()),
        ("", b""),
        (b"x", b"x"),
        (bytearray(b"y"), b"y"),
        ({"a": "é", 1: 2}, b'{\n  "a": "\\u00e9",\n  "1": 2\n}'),
        ([1, [2]], b"[\n  1,\n  [\n    2\n  ]\n]"),
        ((1, 2), b"[\n  1,\n  2\n]"),
        (1, b"1"),
        (1.5, b"1.5"),
        (True, b"true"),
        (None, b"null"),
        (float("nan"), b"null"),
        ({"a": float("inf")}, b'{\n  "a": null\n}'),
        (np.float32(1), b"1.0"),
        ([torch.tensor(1)], b"[\n  1\n]"),
        ([], b"[]"),
        ({}, b"{}"),
        (10**30, b"1000000000000000000000000000000"),
        (np.float64(1.5), b"1.5"),
    ],
)
def test_encoded(value: object, body: bytes) -> None:
    assert encode_value(value) == body


def test_bytes_are_passed_through_uncopied() -> None:
    body = b"x" * 10
    assert encode_value(body) is body


def test_a_tensor_is_what_torch_save_writes() -> None:
    loaded = torch.load(io.BytesIO(encode_value(torch.tensor([1, 2]))), weights_only=True)
    assert loaded.tolist() == [1, 2]


def circle() -> dict:
    value: dict = {}
    value["a"] = value
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(object(), id="an object"),
        decimal.Decimal(1),
        {(1, 2): 3},
        {"a": b"\xff"},
        circle(),
        "\ud800",
    ],
    ids=repr,
)
def test_unsupported(value: object) -> None:
    with pytest.raises(UnsupportedOutput, match=type(value).__name__):
        encode_value(value)


def processor(status: object = None, phrase: str | None = "", **headers: object) -> RequestProcessor:
    made = RequestProcessor({})
    if status is not None:
        made.report_status(status, phrase)
    for name, value in headers.items():
        made.add_response_property(name.replace("_", "-"), value)
    return made


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (processor(), Result(200, "", None, ())),
        (processor(404, "nf"), Result(404, "nf", None, ())),
        (processor("404", None), Result(404, "", None, ())),
        (processor(10), Result(500, "", None, ())),
        (processor("bad"), Result(500, "", None, ())),
        (processor(content_type="a/b", x=1), Result(200, "", "a/b", (("x", "1"),))),
        (processor(Content_Type="a/b"), Result(200, "", "a/b", ())),
        (processor(x="a\r\nSet-Cookie: b"), Result(200, "", None, (("x", "a  Set-Cookie: b"),))),
        (processor(200, "é\ud800\n"), Result(200, "é? ", None, ())),
    ],
)
def test_results_carry_what_the_handler_set(given: RequestProcessor, expected: Result) -> None:
    assert make_result(given, b"x", 100) == (expected, b"x")


def test_the_fallback_status_yields_to_the_handlers() -> None:
    assert make_result(processor(), b"", 10, 206)[0].status == 206
    assert make_result(processor(404), b"", 10, 206)[0].status == 404


def test_a_response_over_the_limit_fails_alone_and_the_limit_itself_passes() -> None:
    assert make_result(processor(), b"x" * 10, 10)[0].error == ""
    result, body = make_result(processor(404), b"x" * 11, 10)
    assert (result.status, body) == (500, b"")
    assert "11 bytes" in result.error
    assert "10" in result.error


@pytest.mark.parametrize(
    ("code", "status"), [(200, 200), (599, 599), ("413", 413), (199, 500), (600, 500), (None, 500), (float("inf"), 500)]
)
def test_http_status(code: object, status: int) -> None:
    assert http_status(code) == status


@pytest.mark.parametrize(
    ("value", "text"), [("plain", "plain"), (5, "5"), ("é", "é"), ("a\x00\tb\x7f", "a  b "), ("", "")]
)
def test_clean(value: object, text: str) -> None:
    assert clean(value) == text
