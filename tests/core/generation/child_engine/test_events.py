"""A stream is cut behind whole events, whatever its pieces."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.generation.child_engine.events import EventCutter
from torchserve.core.generation.child_engine.http_answer import BadAnswer


@given(
    st.lists(st.sampled_from(["a", "data: {}", "ü"]), min_size=1, max_size=8), st.sampled_from(["\n\n", "\r\n\r\n"]),
    st.lists(st.integers(0, 100), max_size=8), st.booleans(),
)  # fmt: skip
def test_every_part_ends_with_an_event(events: list[str], mark: str, cuts: list[int], finished: bool) -> None:
    stream = (mark.join(events) + (mark if finished else "")).encode()
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    cutter = EventCutter(100)
    parts = [cutter.cut(stream[a:b]) for a, b in itertools.pairwise(edges)]
    for part in filter(None, parts):
        assert part.endswith((b"\n\n", b"\r\n\r\n"))
    rest = cutter.rest()
    assert rest == b"" if finished else rest.endswith(b"\n\n")
    assert b"".join(parts) + rest == stream + (b"" if finished else b"\n\n")
    assert cutter.rest() == b""


def test_an_event_has_a_bound() -> None:
    cutter = EventCutter(10)
    assert cutter.cut(b"a" * 100 + b"\n\n" + b"b" * 10) == b"a" * 100 + b"\n\n"
    with pytest.raises(BadAnswer, match="more than 10 bytes"):
        cutter.cut(b"b")
