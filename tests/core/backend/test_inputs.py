"""What a handler sees for each kind of body; the table was compared with TorchServe 0.12."""

from __future__ import annotations

import logging
import math

import pytest

from torchserve.core.backend.inputs import decode_rows, decode_value, request_headers
from torchserve.core.wire.messages import PartHead, Row

JSON = "application/json"

TABLE = [
    (JSON, b'{"a":1}', {"a": 1}),
    ("application/json; charset=utf-8", b'{"a":1}', {"a": 1}),
    ("application/json ;x", b"{}", {}),
    (JSON, b' {"a":1,"a":2}\n', {"a": 2}),
    (JSON, b"12345678901234567890123", 12345678901234567890123),
    (JSON, b"[1e999, -1e999]", [math.inf, -math.inf]),
    (JSON, b'"\\ud800"', "\ud800"),
    ("text/plain", "café".encode(), "café"),
    ("text/html; charset=latin-1", b"a", "a"),
    ("text/plain", b"", ""),
    ("text", b"a", "a"),
]
RAW = [
    ("", b"a"),
    ("", b""),
    ("application/octet-stream", b"\x00\xff"),
    ("APPLICATION/JSON", b"{}"),
    ("application/jsonx", b"{}"),
    ("application/vnd.api+json", b"{}"),
    ("TEXT/plain", b"a"),
    ("image/png", b"{}"),
]
UNDECODABLE = [
    (JSON, b'{"a":'),
    (JSON, b""),
    (JSON, b"\xef\xbb\xbf{}"),
    (JSON, b"\xff{}"),
    (JSON, b"[" * 100_000),
    (JSON, b'"\xff"'),
    (JSON, b"{} x"),
    ("application/json; charset=utf-16", "{}".encode("utf-16")),
    ("text/plain", b"\xff\xfe"),
]


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
@pytest.mark.parametrize(("content_type", "body", "expected"), TABLE)
def test_decoded(content_type: str, body: bytes, expected: object, wrap: type) -> None:
    value = decode_value(wrap(body), content_type)
    assert value == expected
    assert type(value) is type(expected)


def test_nan_is_a_number() -> None:
    assert math.isnan(decode_value(b"NaN", JSON))


@pytest.mark.parametrize("wrap", [bytes, memoryview])
@pytest.mark.parametrize(("content_type", "body"), RAW)
def test_other_types_are_bytearrays_of_the_handlers_own(content_type: str, body: bytes, wrap: type) -> None:
    value = decode_value(wrap(body), content_type)
    assert isinstance(value, bytearray)
    assert value == body


@pytest.mark.parametrize(("content_type", "body"), UNDECODABLE)
def test_what_can_not_be_decoded_is_passed_on_with_a_log_line(content_type: str, body: bytes, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        value = decode_value(body, content_type)
    assert isinstance(value, bytearray)
    assert value == body
    assert "Forwarding encoded payload" in caplog.text


def part(name: str, content_type: str = "") -> PartHead:
    return PartHead(name, content_type)


def test_rows_take_their_bodies_in_order() -> None:
    rows = (Row("1", (part("a"), part("b", "text/plain")), {}), Row("2", (), {}), Row("3", (part("c", JSON),), {}))
    data = decode_rows(rows, [b"1", b"2", b"[3]"], decode=True)
    assert data == [{"a": bytearray(b"1"), "b": "2"}, {}, {"c": [3]}]


def test_the_last_part_of_a_name_wins() -> None:
    assert decode_rows((Row("1", (part("a"), part("a")), {}),), [b"1", b"2"], decode=True) == [{"a": bytearray(b"2")}]


def test_without_decoding_every_value_is_a_bytearray() -> None:
    rows = (Row("1", (part("body", JSON), part("t", "text/plain")), {}),)
    data = decode_rows(rows, [b"[3]", b"x"], decode=False)
    assert data == [{"body": bytearray(b"[3]"), "t": bytearray(b"x")}]
    assert all(isinstance(value, bytearray) for value in data[0].values())


def test_headers_name_each_parts_content_type_and_the_clients_win() -> None:
    row = Row("1", (part("body", "application/json; charset=utf-8"), part("x")), {"X": "1", "x": "own"})
    assert request_headers(row) == {"body": {"content-type": "application/json"}, "X": "1", "x": "own"}
