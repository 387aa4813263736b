"""Pieces of text from growing lists of tokens: together they are the text of all tokens, up to the stop string."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.generation.text_stream import TextStream


def decode(tokens: Sequence[int]) -> str:
    """Each token is one byte."""
    return bytes(tokens).decode(errors="replace")


def pieces(text: str, cuts: Sequence[int], stops: Sequence[str] = ()) -> tuple[list[str], TextStream]:
    tokens = list(text.encode())
    stream = TextStream(decode, stops)
    found = []
    for cut in sorted(cuts):
        found.append(stream.add(tokens[: min(cut, len(tokens))]))
        if stream.stopped:
            return found, stream
    return [*found, stream.finish(tokens)], stream


@given(st.text(max_size=30), st.lists(st.integers(0, 60)))
def test_the_pieces_are_the_text(text: str, cuts: list[int]) -> None:
    text = text.replace("\ufffd", "")
    found, stream = pieces(text, cuts)
    assert "".join(found) == stream.text == text
    assert not stream.stopped
    assert not any("\ufffd" in piece for piece in found)


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=1, max_size=4), min_size=1), st.data())
def test_a_text_ends_before_its_first_stop_string(text: str, stops: list[str], data: st.DataObject) -> None:
    """Whichever way it comes in: what was sent never has to be taken back."""
    cuts = data.draw(st.lists(st.integers(0, 30)))
    found, stream = pieces(text, cuts, stops)
    sent = "".join(found)
    assert sent == stream.text
    ends = [at for stop in stops if (at := text.find(stop)) >= 0]
    assert stream.stopped is bool(ends)
    if not ends:
        assert sent == text
    else:
        assert text.startswith(sent)
        assert not any(stop in sent for stop in stops)


def test_a_character_comes_whole() -> None:
    tokens = list("a\u20acb".encode())
    stream = TextStream(decode)
    assert [stream.add(tokens[:size]) for size in range(1, 6)] == ["a", "", "", "\u20ac", "b"]


def test_an_incomplete_character_comes_at_the_end() -> None:
    stream = TextStream(decode)
    assert (stream.add([0x61, 0xE2]), stream.finish([0x61, 0xE2])) == ("", "a\ufffd")


def test_what_could_be_a_stop_string_is_held_back() -> None:
    stream = TextStream(decode, ["END"])
    assert [stream.add(b"xEN"[:size]) for size in (1, 2, 3)] == ["x", "", ""]
    assert stream.add(b"xENxE") == "ENx"
    assert stream.finish(b"xENxE") == "E"


def test_nothing_follows_a_stop_string() -> None:
    stream = TextStream(decode, ["."])
    assert stream.add(b"a.b") == "a"
    assert stream.stopped
    assert (stream.add(b"a.bc"), stream.finish(b"a.bcd"), stream.text) == ("", "", "a")


@pytest.mark.parametrize("count", [2000])
def test_each_step_decodes_a_window_and_not_the_whole(count: int) -> None:
    decoded = 0

    def counting(tokens: Sequence[int]) -> str:
        nonlocal decoded
        decoded += len(tokens)
        return decode(tokens)

    stream = TextStream(counting)
    for size in range(1, count):
        stream.add(b"x" * size)
    assert decoded < 4 * count
