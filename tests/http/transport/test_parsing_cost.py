"""What a request may cost to parse: work that grows faster than its bytes is refused or cut short, and long work is done
in steps, between which the loop turns. Steps are counted; `python -m benchmarks.stalls` measures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import TypeVar
from urllib.parse import quote_from_bytes, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import BadRequest
from torchserve.core.payload import Part
from torchserve.http.message.body import CHECKED, split_body, split_slowly
from torchserve.http.message.limits import Limits
from torchserve.http.message.urlencoded import SLICE, split_form

from ..predict.test_prediction import Harness

T = TypeVar("T")
LIMITS = Limits()
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=XX"


def counted(steps: Generator[None, None, T]) -> tuple[int, T]:
    """How many steps it was, and what came of them."""
    number = 0
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return number, ended.value
        number += 1


def multipart(*headers: bytes) -> bytes:
    parts = [b"--XX\r\n" + header + b"\r\n\r\nx\r\n" for header in headers]
    return b"".join(parts) + b"--XX--\r\n"


# ---- headers of parts


def test_the_headers_of_all_parts_have_a_bound() -> None:
    named = b"content-disposition: form-data; name=p%d; x="
    fits = multipart(*(named % number + b"y" * 450 for number in range(128)))
    assert len(split_body(fits, MULTIPART, LIMITS)) == 128
    with pytest.raises(BadRequest, match="The headers of a form's parts may have at most 65536 bytes together"):
        split_body(multipart(*(named % number + b"y" * 5000 for number in range(14))), MULTIPART, LIMITS)


@pytest.mark.parametrize("where", ["preamble", "part"])
def test_a_boundary_is_searched_for_in_steps(where: str) -> None:
    """Each step's bytes once, and one that lies across two of them is found."""
    head = b"content-disposition: form-data; name=a\r\n\r\n"
    for megabytes in (2, 4):
        for short in range(8):
            filling = (b"\r\n--X" * 1024 * 1024)[: megabytes * 1024 * 1024 - 60 - short]
            body = (
                filling + b"\r\n--XX\r\n" + head + b"1\r\n--XX--"
                if where == "preamble"
                else (b"--XX\r\n" + head + filling + b"\r\n--XX--")
            )
            steps = split_slowly(body, MULTIPART, LIMITS, check_json=True)
            assert steps is not None
            number, (part,) = counted(steps)
            assert number == megabytes - 1
            assert bytes(part.body) == (b"1" if where == "preamble" else filling)


# ---- JSON


def test_json_is_looked_at_up_to_a_bound() -> None:
    broken = b"[" + b"1," * (CHECKED // 2)
    assert len(broken) == CHECKED + 1
    assert split_body(broken, "application/json", LIMITS)[0].body == broken, "the handler gets it, as in TorchServe"
    with pytest.raises(BadRequest, match="Malformed JSON"):
        split_body(broken[:-1], "application/json", LIMITS)


@pytest.mark.parametrize(("parts", "refused"), [((3, 1), True), ((1, 2, 1), True), ((3, 2), False)])
def test_the_parts_of_a_form_share_that_bound(parts: tuple[int, ...], refused: bool) -> None:
    """All parts but the last are JSON. Sizes are quarters of the bound."""
    header = b"content-disposition: form-data; name=p%d; filename=f\r\ncontent-type: application/json"
    *sound, broken = (size * CHECKED // 4 for size in parts)
    values = [*(b" " * (size - 1) + b"1" for size in sound), b" " * (broken - 1) + b"["]
    pieces = [b"--XX\r\n" + header % at + b"\r\n\r\n" + value + b"\r\n" for at, value in enumerate(values)]
    body = b"".join(pieces) + b"--XX--\r\n"
    if refused:
        with pytest.raises(BadRequest, match="Malformed JSON"):
            split_body(body, MULTIPART, LIMITS)
    else:
        assert len(split_body(body, MULTIPART, LIMITS)) == len(parts)


def test_a_prediction_of_large_json_is_not_looked_at() -> None:
    for size, refused in ((CHECKED, True), (CHECKED + 1, False)):
        harness = Harness()
        prediction = harness.open("/predictions/m", (b"content-type", b"application/json"))
        prediction.submit(b"[" + b" " * (size - 1))
        assert (prediction.over, len(harness.data.payloads)) == (refused, not refused)


# ---- url-encoded forms


def test_a_long_form_is_split_in_steps_of_a_slice() -> None:
    for slices in (4, 8):
        steps = split_slowly(b"a=" + b"x" * (SLICE * slices - 2), FORM, LIMITS, check_json=True)
        assert steps is not None
        number, parts = counted(steps)
        assert number == 2 * slices, "each byte is looked at once and decoded once"
        assert len(parts[0].body) == SLICE * slices - 2
    assert split_slowly(b"a=" + b"x" * (SLICE - 2), FORM, LIMITS, check_json=True) is None
    assert split_slowly(b"x" * SLICE * 2, "text/plain", LIMITS, check_json=True) is None


@given(st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=40)), max_size=8), st.integers(3, 12))
def test_slices_of_any_size_decode_alike(fields: list[tuple[bytes, bytes]], size: int) -> None:
    body = b"&".join(
        f"{quote_from_bytes(name)}={quote_from_bytes(value)}".replace("%20", "+").encode() for name, value in fields
    )
    _, parts = counted(split_form(body, 128, size))
    assert parts == [Part(name.decode("utf-8", "replace"), "", value) for name, value in fields]


@given(st.lists(st.sampled_from([b"%", b"4", b"z", b"%41", b"+", b"=3D", b"=\n", b"&a=", b" ", b"\t"]), max_size=30))
def test_whatever_comes_is_decoded_as_urllib_does_or_refused(pieces: list[bytes]) -> None:
    body = b"a=" + b"".join(pieces)
    expected = [
        Part(unquote_to_bytes(name).decode(), "", unquote_to_bytes(value))
        for name, sign, value in (field.partition(b"=") for field in body.replace(b"+", b" ").split(b"&"))
        if sign
    ]
    broken = unquote_to_bytes(body).count(b"%") > 0
    for size in (3, 4, 1000):
        if broken:
            with pytest.raises(BadRequest, match="percent-encoding"):
                counted(split_form(body, 128, size))
        else:
            assert counted(split_form(body, 128, size))[1] == expected


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"a=" + b"x" * 200_000 + b"%4", "invalid percent-encoding at byte 200002"),
        (b"&" * 6_000_000, "at most 128 fields"),
        (b"n" * 8193 + b"=1", "The name of a form's field may have at most 8192 bytes"),
        (b"\xff" * 6_000_000 + b"=1", "The name of a form's field may have at most 8192 bytes"),
    ],
)
def test_long_forms_that_are_refused(body: bytes, text: str) -> None:
    with pytest.raises(BadRequest, match=text):
        split_body(body, FORM, LIMITS)


async def turns(harness: Harness) -> int:
    """How often the loop turns until the dataplane has a request, or the client an answer."""
    number = 0
    while not harness.data.payloads and not harness.out.sent:
        number += 1
        await asyncio.sleep(0)
    return number


@pytest.mark.parametrize("target", ["/predictions/m", "/invocations?q=1"])
async def test_the_loop_turns_while_a_long_form_is_split(target: str) -> None:
    harness = Harness()
    prediction = harness.open(target, (b"content-type", FORM.encode()))
    prediction.submit(b"a=" + b"%41" * SLICE)
    assert await turns(harness) >= 6
    values = {part.name: part.body for part in harness.data.payloads[0].parts}
    assert values.pop("a") == b"A" * SLICE
    assert values == ({"q": b"1"} if "?" in target else {})


async def test_a_long_form_that_is_refused_late() -> None:
    harness = Harness()
    prediction = harness.open("/predictions/m", (b"content-type", FORM.encode()))
    prediction.submit(b"a=" + b"x" * SLICE * 3 + b"%")
    assert await turns(harness) >= 3
    assert b"invalid percent-encoding" in harness.answer()[1]


async def test_a_client_that_leaves_ends_the_splitting() -> None:
    harness = Harness()
    prediction = harness.open("/predictions/m", (b"content-type", FORM.encode()))
    prediction.submit(b"a=" + b"x" * SLICE * 3)
    prediction.abandon()
    for _ in range(10):
        await asyncio.sleep(0)
    assert harness.data.payloads == []
    assert [entry.status for entry in harness.log] == [499]


def test_a_model_name_is_read_no_further_than_names_go() -> None:
    harness = Harness()
    prediction = harness.open("/invocations", (b"content-type", FORM.encode()))
    prediction.submit(b"model_name=" + b"%ff" * 2000)
    assert harness.answer()[1].decode().count("\ufffd") == 1024
