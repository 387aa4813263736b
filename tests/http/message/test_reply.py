"""The head of an answer: TorchServe's headers in its order, and nothing a handler can break out of."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.payload import Reply, Scheduled
from torchserve.http.message.reply import (
    PHRASES,
    encode_head,
    head_fields,
    json_reply,
    reply_head,
    stream_head,
    unless_known,
    with_scheduling,
)

ID = "0b2a7f0e-1111-4222-8333-444455556666"
FIXED = [
    ("x-request-id", ID),
    ("Pragma", "no-cache"),
    ("Cache-Control", "no-cache; no-store, must-revalidate, private"),
    ("Expires", "Thu, 01 Jan 1970 00:00:00 UTC"),
]


def fields_of(head: bytes) -> list[tuple[str, str]]:
    assert head.endswith(b"\r\n\r\n")
    lines = head[:-4].decode("latin-1").split("\r\n")[1:]
    return [(name, value) for name, _, value in (line.partition(": ") for line in lines)]


def test_a_successful_prediction_has_an_empty_phrase_and_no_content_type() -> None:
    head = reply_head(Reply(b"hello"), ID, keep=True)
    assert head.startswith(b"HTTP/1.1 200 \r\n")
    assert fields_of(head) == [*FIXED, ("content-length", "5"), ("connection", "keep-alive")]


def test_statuses_that_python_has_renamed_keep_torchserves_words() -> None:
    assert [PHRASES[status] for status in (413, 414, 416, 422)] == [
        "Request Entity Too Large", "Request-URI Too Long", "Requested Range Not Satisfiable", "Unprocessable Entity",
    ]  # fmt: skip


@pytest.mark.parametrize("keep", [True, False])
def test_the_short_way_and_the_long_way_say_the_same(keep: bool) -> None:
    reply = Reply(b"hello")
    long_way = encode_head(200, "", head_fields(reply, ID, keep=keep, length=5))
    assert reply_head(reply, ID, keep=keep) == long_way


def test_a_handlers_headers_and_content_type_follow() -> None:
    reply = Reply(b"x", status=201, phrase="Made", content_type="text/plain", headers=(("dummy", "1"), ("B", "2")))
    head = reply_head(reply, ID, keep=False)
    assert head.startswith(b"HTTP/1.1 201 Made\r\n")
    assert fields_of(head)[4:] == [
        ("content-length", "1"), ("connection", "close"), ("content-type", "text/plain"), ("dummy", "1"), ("B", "2"),
    ]  # fmt: skip


def test_a_content_type_among_the_headers_counts_once() -> None:
    reply = Reply(b"x", headers=(("Content-Type", "image/png"),))
    assert [field for field in fields_of(reply_head(reply, ID, keep=True)) if field[0].lower() == "content-type"] == [
        ("content-type", "image/png")
    ]


@pytest.mark.parametrize(
    "name",
    [
        "Content-Length",
        "transfer-encoding",
        "Connection",
        "X-Request-Id",
        "cache-control",
        "Trailer",
        "keep-alive",
        "",
        "a b",
        "a:b",
        "a\r\nb",
        "é",
    ],
)
def test_headers_that_are_the_servers_or_no_name_are_left_out(name: str) -> None:
    head = reply_head(Reply(b"x", headers=((name, "evil"), ("ok", "1"))), ID, keep=True)
    assert b"evil" not in head
    assert b"ok: 1\r\n" in head


@pytest.mark.parametrize("evil", ["a\r\nSet-Cookie: b", "a\nb", "a\0b", "a\rb", "a\x7fb"])
def test_control_characters_become_spaces(evil: str) -> None:
    reply = Reply(b"x", phrase=evil, content_type=evil, headers=(("dummy", evil),))
    head = reply_head(reply, ID, keep=True)
    assert head.count(b"\r\n") == 4 + 2 + 2 + 1 + 1
    assert not any(line.startswith(b"Set-Cookie") for line in head.split(b"\r\n"))
    assert not set(head.replace(b"\r\n", b"")) & {0, 10, 13, 127}


@given(st.text(), st.text(), st.text(), st.text())
def test_no_text_of_a_handler_makes_a_line_of_its_own(phrase: str, kind: str, name: str, value: str) -> None:
    head = reply_head(
        Reply(b"x", status=299, phrase=phrase, content_type=kind, headers=((name, value),)), ID, keep=True
    )
    lines = head.split(b"\r\n")
    assert lines[-2:] == [b"", b""]
    assert all(b"\n" not in line and b"\r" not in line for line in lines)
    assert len(lines) <= 1 + 4 + 2 + 1 + 1 + 2


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_has_no_length(status: int) -> None:
    assert b"content-length" not in reply_head(Reply(b"", status=status), ID, keep=True)


def test_the_head_of_a_stream() -> None:
    head = stream_head(Reply(b"x", content_type="text/plain"), ID, keep=True, chunked=True)
    assert fields_of(head)[4:] == [
        ("connection", "keep-alive"), ("content-type", "text/plain"), ("ts_stream_next", "true"),
        ("transfer-encoding", "chunked"),
    ]  # fmt: skip


def test_json_is_pretty_printed_in_its_own_order() -> None:
    reply = json_reply({"b": 1, "a": [], "é": {"x": None}}, 202)
    assert bytes(reply.body).decode() == '{\n  "b": 1,\n  "a": [],\n  "é": {\n    "x": null\n  }\n}\n'
    assert (reply.status, reply.phrase, reply.content_type) == (202, "Accepted", "application/json")


def test_json_of_an_integer_that_orjson_refuses() -> None:
    assert bytes(json_reply({"a": 2**70}).body) == b'{\n  "a": 1180591620717411303424\n}\n'


KEPT = Reply(
    b"hello", headers=(("ETag", 'W/"7"'), ("Cache-Control", "private, max-age=9"), ("x-torchserve-cache", "hit"))
)


def test_an_answer_that_is_kept_says_for_how_long_in_place_of_the_servers_own_words() -> None:
    assert fields_of(reply_head(KEPT, ID, keep=True)) == [
        FIXED[0], ("content-length", "5"), ("connection", "keep-alive"), *KEPT.headers,
    ]  # fmt: skip


def test_what_the_cache_says_stays_beside_how_a_request_was_scheduled() -> None:
    told = with_scheduling(KEPT, Scheduled(0.0, 1, "full", "w", "cpu"))
    assert dict(told.headers)["x-torchserve-cache"] == "hit"


@pytest.mark.parametrize(
    ("known", "status"),
    [('W/"7"', 304), ('"7"', 304), ('"a", W/"7"', 304), ("*", 304), ('W/"8"', 200), ("7", 200), ("", 200)],
)
def test_a_client_that_knows_the_answer_gets_none(known: str, status: int) -> None:
    told = unless_known(KEPT, known)
    assert (told.status, bytes(told.body)) == (status, b"" if status == 304 else b"hello")
    assert told.headers == KEPT.headers


def test_an_error_and_an_answer_without_a_tag_are_always_sent() -> None:
    assert unless_known(Reply(b"x"), "*").status == 200
    assert unless_known(Reply(b"x", 500, headers=KEPT.headers), "*").status == 500
