"""What is carried between the doors and the models: frozen, and never a copy of a body."""

from __future__ import annotations

from typing import Any

import pytest

from torchserve.core.payload import Body, Part, Payload, Reply


@pytest.mark.parametrize("body", [b"bytes", bytearray(b"array"), memoryview(b"view")])
def test_a_body_is_kept_and_not_copied(body: Body) -> None:
    assert Part("body", "", body).body is body
    assert Reply(body).body is body


@pytest.mark.parametrize(
    ("made", "name"),
    [
        (Part("body", "", b""), "body"),
        (Payload("id", ()), "parts"),
        (Payload("id", ()), "headers"),
        (Reply(b""), "status"),
    ],
)
def test_nothing_is_exchanged_later(made: Any, name: str) -> None:
    with pytest.raises(AttributeError, match="immutable"):
        setattr(made, name, None)
    with pytest.raises((AttributeError, TypeError)):
        made.other = 1


def test_headers_are_each_requests_own() -> None:
    first, second = Payload("a", ()), Payload("b", ())
    first.headers["x"] = "1"
    assert second.headers == {}


def test_a_plain_reply_is_a_200_of_which_the_handler_said_nothing() -> None:
    assert Reply(b"x") == Reply(b"x", 200, "", None, ())
    assert Reply(b"x") != Reply(b"x", 200, "", "", ())
