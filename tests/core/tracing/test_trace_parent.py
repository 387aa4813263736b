"""What a traceparent and a tracestate say; anything that is not right in them begins a new trace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.tracing.trace_parent import (
    UNSAMPLED,
    TraceParent,
    not_sampled,
    parent_in,
    parent_text,
    read_parent,
    read_state,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


def found_in(raw: list[tuple[bytes, bytes]]) -> TraceParent | None:
    return parent_in({name.decode().lower(): value.decode() for name, value in raw}, raw)


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (GOOD, 1),
        (f"00-{TRACE}-{SPAN}-00", 0),
        (f"00-{TRACE}-{SPAN}-03", 3),
        (f"00-{TRACE}-{SPAN}-ff", 3),
        (f" {GOOD}\t", 1),
        (f"01-{TRACE}-{SPAN}-01", 1),
        (f"cc-{TRACE}-{SPAN}-01-what.comes-later", 1),
    ],
)
def test_a_parent_is_read(text: str, flags: int) -> None:
    found = read_parent([text])
    assert found == TraceParent(TRACE, SPAN, flags)


@pytest.mark.parametrize(
    "text",
    [
        "", "00", GOOD[:-1], f"{GOOD}-more", f"{GOOD}0", f"ff-{TRACE}-{SPAN}-01", f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{SPAN}-0g", f"00_{TRACE}_{SPAN}_01",
        f"00-{TRACE[:-1]}-{SPAN}-01", f"0x-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-\u0660\u0661", f"01-{TRACE}-{SPAN}-01more",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 10_000}", "x" * 10_240, f"{GOOD},{GOOD}", f"00-{TRACE}-{SPAN}-01\n",
    ],
)  # fmt: skip
def test_a_parent_that_is_malformed_or_long_is_none(text: str) -> None:
    assert read_parent([text]) is None


def test_two_parents_are_none_and_names_are_in_any_case() -> None:
    assert read_parent([GOOD, GOOD]) is None
    assert read_parent([]) is None
    fields = [(b"Host", b"x"), (b"TraceParent", GOOD.encode()), (b"TRACESTATE", b"a=1"), (b"tracestate", b"b=2")]
    assert found_in(fields) == TraceParent(TRACE, SPAN, 1, "a=1,b=2")
    assert found_in([*fields, (b"traceparent", GOOD.encode())]) is None
    assert found_in([(b"tracestate", b"a=1")]) is None


@pytest.mark.parametrize(
    ("values", "state"),
    [
        (["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"], "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (["a=1 , b=2", "", ",c=3"], "a=1,b=2,c=3"),
        (["1@vendor=x"], "1@vendor=x"),
        ([f"a={'x' * 256},b={'y' * 256}"], f"a={'x' * 256}"),
        ([f"a={'x' * 257}"], ""),
        (["a=1,a=2"], ""),
        (["A=1"], ""),
        (["a"], ""),
        (["a=x=y"], ""),
        (["a=é"], ""),
        ([",".join(f"k{number}=v" for number in range(32))], ",".join(f"k{number}=v" for number in range(32))),
        ([",".join(f"k{number}=v" for number in range(33))], ""),
        (["a=1," * 4000], ""),
    ],
)
def test_a_state_goes_on_as_far_as_it_fits(values: list[str], state: str) -> None:
    assert read_state(values) == state
    found = read_parent([GOOD], values)
    assert found is not None
    assert found.state == state


@given(st.lists(st.text(max_size=600), max_size=3), st.lists(st.text(max_size=600), max_size=3))
def test_whatever_comes_is_read_or_none(parents: list[str], states: list[str]) -> None:
    found = read_parent(parents, states)
    assert found is None or read_parent([parent_text(*found[:3])], [found.state]) == found
    assert len(read_state(states)) <= 512


HEX = st.text("0123456789abcdef", min_size=1, max_size=33)


@given(
    st.sampled_from(["00", "01", "ff"]),
    HEX | st.just("0" * 32) | st.just(TRACE),
    HEX | st.just("0" * 16) | st.just(SPAN),
    HEX,
)
def test_of_what_is_not_recorded_no_more_is_read_than_of_what_is(
    version: str, trace: str, span: str, flags: str
) -> None:
    text = f"{version}-{trace}-{span}-{flags[:2]}"
    whole = read_parent([text])
    quick = found_in([(b"TraceParent", text.encode()), (b"tracestate", b"a=1")])
    assert (whole is None) == (quick is None)
    assert whole is None or quick is None or whole.flags & 1 == quick.flags & 1
    if not_sampled(text):
        assert quick is UNSAMPLED
    elif version == "00" and whole is not None:
        assert quick == whole._replace(state="a=1")


def test_two_of_which_the_last_is_not_recorded_are_none() -> None:
    unrecorded = GOOD[:-1] + "0"
    assert found_in([(b"traceparent", unrecorded.encode())]) is UNSAMPLED
    assert found_in([(b"traceparent", GOOD.encode()), (b"Traceparent", unrecorded.encode())]) is None
