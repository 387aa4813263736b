"""Bodies become parts, without copies, within limits; what is malformed says where."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import BadRequest
from torchserve.core.payload import Part
from torchserve.http.message.body import split_body
from torchserve.http.message.limits import Limits

LIMITS = Limits()
FORM = "multipart/form-data; boundary=XX"


def split(body: bytes, content_type: str = "", **options: Any) -> dict[str, tuple[str, bytes]]:
    parts = split_body(body, content_type, LIMITS, **options)
    assert all(isinstance(part, Part) for part in parts)
    return {part.name: (part.content_type, bytes(part.body)) for part in parts}


def field(name: str, value: bytes, extra: str = "", kind: str = "") -> bytes:
    content_type = f"Content-Type: {kind}\r\n" if kind else ""
    return (
        f'--XX\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n{content_type}\r\n'.encode() + value + b"\r\n"
    )


END = b"--XX--\r\n"


@pytest.mark.parametrize(
    ("body", "content_type", "expected"),
    [
        (b"", "", {"body": ("", b"")}),
        (b"\xff\xd8", "image/jpeg", {"body": ("image/jpeg", b"\xff\xd8")}),
        (b'{"a": 1}', "application/json", {"body": ("application/json", b'{"a": 1}')}),
        (b"[1]", "Application/JSON; charset=utf-8", {"body": ("application/json", b"[1]")}),
        (b"", "application/json", {"body": ("application/json", b"")}),
        (b"hi", "text/plain;charset=latin-1", {"body": ("text/plain", b"hi")}),
        (b"{", "application/vnd.x+json", {"body": ("application/vnd.x+json", b"{")}),
        (b"x", "multipart/related; boundary=XX", {"body": ("multipart/related", b"x")}),
        (b"a=1&b=%41+c%26&a=2&flag", "application/x-www-form-urlencoded", {"a": ("", b"2"), "b": ("", b"A c&")}),
        (b"a=x%3Dy%0D%0A%00%ff", "application/x-www-form-urlencoded", {"a": ("", b"x=y\r\n\x00\xff")}),
        (b"plain", "application/x-www-form-urlencoded", {}),
        (b"a=b=c", "application/x-www-form-urlencoded", {"a": ("", b"b=c")}),
    ],
)
def test_kinds_of_bodies(body: bytes, content_type: str, expected: dict[str, Any]) -> None:
    assert split(body, content_type) == expected


def test_a_form_of_fields_and_files() -> None:
    body = (
        field("text", b"hello", kind="application/json")
        + field("data", b'{"a": 1}', '; filename="a.json"', "application/json; charset=utf-8")
        + field("raw", b"\r\n--X\r\n", '; filename="x"')
        + field("star", b"s", "; filename*=UTF-8''x", "text/plain")
        + field("empty", b"")
        + field("text", b"again")
        + END
    )
    assert split(b"preamble\r\n" + body + b"epilogue", FORM) == split(body, FORM) == {
        "text": ("", b"again"),
        "data": ("application/json", b'{"a": 1}'),
        "raw": ("application/octet-stream", b"\r\n--X\r\n"),
        "star": ("text/plain", b"s"),
        "empty": ("", b""),
    }  # fmt: skip


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/form-data; boundary="XX"',
        "Multipart/Form-Data;charset=x;BOUNDARY=XX",
        "multipart/form-data;boundary=XX;a=b",
    ],
)
def test_ways_to_name_a_boundary(content_type: str) -> None:
    assert split(field("a", b"1") + END, content_type) == {"a": ("", b"1")}


def test_names_may_be_quoted_escaped_or_bare() -> None:
    body = (
        b'--XX\r\ncontent-disposition:form-data;name="a\\"b;c=d"\r\n\r\n1\r\n'
        b"--XX \t\r\nContent-Type: x\r\nContent-Disposition: form-data; name=bare; filename=f\r\n\r\n2\r\n"
    )
    assert split(body + END, FORM) == {'a"b;c=d': ("", b"1"), "bare": ("x", b"2")}


def test_an_empty_value_may_share_its_line_break() -> None:
    assert split(b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n--XX--', FORM) == {"a": ("", b"")}


def test_parts_are_slices_of_the_body() -> None:
    body = field("f", b"z" * 1000, '; filename="f"') + END
    (part,) = split_body(body, FORM, LIMITS)
    assert isinstance(part.body, memoryview)
    assert part.body.obj is body


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        (b"", FORM, "is not in it"),
        (b"garbage", FORM, "is not in it"),
        (field("a", b"1"), FORM, "before its closing boundary"),
        (field("a", b"1")[:-4], FORM, "before its closing boundary"),
        (b"--XX\r\n\r\nno name\r\n--XX--", FORM, "has no name"),
        (b"--XX\r\nContent-Disposition: form-data\r\n\r\nx\r\n--XX--", FORM, "has no name"),
        (b'--XX\r\nContent-Disposition: form-data; name="a"\r\n--XX--', FORM, "no end of its headers"),
        (b"--XX\r\nX: " + b"y" * 9000 + b"\r\n\r\nx\r\n--XX--", FORM, "no end of its headers"),
        (b"--XXjunk\r\n\r\n\r\n--XX--", FORM, "no line break behind the boundary at byte 4"),
        (b"--XX", FORM, "no line break behind the boundary"),
        (b"--XX\r\n" + field("a", b"1") + END, FORM, "the part at byte 6 has no end of its headers"),
        (END, "multipart/form-data", "names no boundary"),
        (END, "multipart/form-data; boundary=" + "a" * 71, "names no boundary"),
        (b"".join(field(f"f{i}", b"") for i in range(1000)) + END, FORM, "at most 128 parts"),
        (b"&".join(b"a=1" for _ in range(129)), "application/x-www-form-urlencoded", "at most 128 fields"),
        (b"a=%zz", "application/x-www-form-urlencoded", "invalid percent-encoding at byte 2"),
    ],
)
def test_malformed_forms_are_refused(body: bytes, content_type: str, text: str) -> None:
    with pytest.raises(BadRequest, match=text):
        split_body(body, content_type, LIMITS)


HEAD = b'Content-Disposition: form-data; name="a"; filename="f"'
KIND = b"Content-Type: text/plain"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"--XX\n%b\n%b\n\nvalue\n--XX--\n" % (HEAD, KIND), b"value"),
        (b"preamble\n--XX\n%b\n%b\n\nvalue\n--XX--" % (HEAD, KIND), b"value"),
        (b"--XX \t\n%b\n%b\n\none\ntwo\n\n\n--XX--\n" % (HEAD, KIND), b"one\ntwo\n\n"),
        (b"--XX\n%b\n%b\n\n\n--XX--\n" % (HEAD, KIND), b""),
        (b"--XX\n%b\n%b\n\n--XX--\n" % (HEAD, KIND), b""),  # one line break for both
        (b"--XX\n%b\n%b\n\nv\r\n\r\n--XX--\n" % (HEAD, KIND), b"v\r\n"),  # the value's last line break isn't its own
        # Lines of both kinds, as print() and println() make them.
        (b"--XX\r\n%b\n%b\r\n\nvalue\r\n--XX--\r\n" % (HEAD, KIND), b"value"),
        (b"--XX\r\n%b\r\n%b\r\n\r\nvalue\n--XX--\n" % (HEAD, KIND), b"value"),
        (b"--XX\n%b\n%b\n\nvalue\r\n--XX--\r\n" % (HEAD, KIND), b"value"),
        # What is CRLF throughout is never cut at an LF.
        (b"--XX\r\n%b\r\n%b\r\n\r\nv\n--XX\nw\n--XX--\n\r\n--XX--\r\n" % (HEAD, KIND), b"v\n--XX\nw\n--XX--\n"),
    ],
)
def test_lines_may_end_in_bare_line_feeds(body: bytes, value: bytes) -> None:
    assert split(body, FORM) == {"a": ("text/plain", value)}


VALUES = st.lists(st.binary(max_size=40).filter(lambda value: b"--XX" not in value), min_size=1, max_size=5)


@given(VALUES)
def test_a_form_of_bare_line_feeds_has_the_same_parts(values: list[bytes]) -> None:
    form = b"".join(field(f"f{n}", value) for n, value in enumerate(values)) + END
    expected = {f"f{n}": ("", value) for n, value in enumerate(values)}
    assert split(form, FORM) == expected
    heads = [f'--XX\nContent-Disposition: form-data; name="f{n}"\n\n'.encode() for n in range(len(values))]
    bare = b"".join(head + value + b"\n" for head, value in zip(heads, values, strict=True)) + b"--XX--\n"
    # A CR before the last LF can't be told from that of a line break: it isn't the value's, as in TorchServe.
    assert split(bare, FORM) == {name: (kind, value.removesuffix(b"\r")) for name, (kind, value) in expected.items()}


def test_exactly_128_parts_are_accepted() -> None:
    assert len(split(b"".join(field(f"f{i}", b"") for i in range(128)) + END, FORM)) == 128
    assert len(split(b"&".join(b"f%d=1" % i for i in range(128)), "application/x-www-form-urlencoded")) == 128


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b'{"a": nope}', "Malformed JSON in body: Expecting value at line 1 column 7 (char 6)."),
        (b'{"a": 1', "Malformed JSON in body: Expecting ',' delimiter at line 1 column 8 (char 7)."),
        (b"{'a': 1}", "at line 1 column 2 (char 1)."),
        (b"\xff", "Malformed JSON in body: invalid start byte at byte 0."),
        # Python 3.14 reads as deep as the thread's stack allows.
        (b"[" * 60000, "nested too deeply." if sys.version_info < (3, 14) else "Expecting value at line 1"),
        (b"[" + b"1," * 100_000 + b"x]", "byte 200001"),
        (b"[" + b"1," * 100_000, "Malformed JSON in body"),
    ],
)
def test_malformed_json_is_refused_and_says_where(body: bytes, text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        split_body(body, "application/json", LIMITS)
    assert text in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        b"[NaN, -Infinity]",
        b'"\\ud800"',
        '{"a": 1}'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b"[NaN," + b"1," * 100_000 + b"1]",
    ],
)
def test_what_the_backends_decoder_takes_goes_through(body: bytes) -> None:
    json.loads(body)
    assert split(body, "application/json") == {"body": ("application/json", body)}


def test_json_in_a_file_part_is_looked_at_and_in_a_field_is_not() -> None:
    assert split(field("a", b"{", kind="application/json") + END, FORM) == {"a": ("", b"{")}
    with pytest.raises(BadRequest, match="Malformed JSON in a: "):
        split(field("a", b"{", '; filename="x"', "application/json") + END, FORM)


def test_json_is_not_looked_at_when_handlers_get_bytes() -> None:
    assert split(b"{", "application/json", check_json=False) == {"body": ("application/json", b"{")}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values, st.booleans())
def test_whatever_python_writes_as_json_goes_through(value: Any, ascii_only: bool) -> None:
    try:
        body = json.dumps(value, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    assert split(body, "application/json")["body"][1] == body


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=3), st.binary(max_size=50)), max_size=8))
def test_forms_round_trip(fields: list[tuple[str, bytes]]) -> None:
    clean = [(name, value) for name, value in fields if b"\r\n--XX" not in b"\r\n" + value + b"\r\n"]
    body = b"".join(field(name, value, '; filename="f"') for name, value in clean) + END
    assert split(body, FORM) == {name: ("application/octet-stream", value) for name, value in clean}


@given(st.binary(max_size=300))
def test_no_bytes_break_the_form_parser(junk: bytes) -> None:
    for body in (junk, b"--XX\r\n" + junk + b"\r\n--XX--", field("a", junk) + junk):
        try:
            split_body(body, FORM, LIMITS)
        except BadRequest as error:
            assert error.message.isprintable()
