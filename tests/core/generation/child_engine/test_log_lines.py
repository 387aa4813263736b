"""The output of an engine becomes lines, cut and counted."""

from __future__ import annotations

import itertools
import os

from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.generation.child_engine.log_lines import LONGEST, LogLines, pump


@given(st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=6))
def test_lines_come_out_as_they_went_in(data: bytes, cuts: list[int]) -> None:
    lines = LogLines()
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    out = b"".join(lines.take(data[a:b], 0.0) for a, b in itertools.pairwise(edges)) + lines.end()
    assert out == data + (b"" if data.endswith(b"\n") or not data else b"\n")


def test_a_line_without_an_end_is_cut_once() -> None:
    lines = LogLines()
    out = b"".join(lines.take(b"x" * 1000, 0.0) for _ in range(100))
    assert len(out) < LONGEST + 100
    assert out.endswith(" … (cut)\n".encode())
    assert lines.take(b"xx\nnext\n", 0.0) == b"next\n"


def test_a_flood_is_left_out_and_counted_and_time_makes_room() -> None:
    lines = LogLines()
    line = b"x" * 99 + b"\n"
    out = b"".join(lines.take(line * 1000, 0.0) for _ in range(100))
    kept = out.count(b"\n")
    assert 40_000 < kept < 45_000
    assert lines.take(line, 0.0) == b""
    after = lines.take(line, 1.0)
    assert after == f"({100_001 - kept} lines of the engine were left out: it prints too many)\n".encode() + line
    assert len(lines.last) == 20


def test_a_thread_passes_the_lines_on_until_the_end() -> None:
    source, writes = os.pipe()
    reads, target = os.pipe()
    lines = LogLines()
    thread = pump(source, target, lines)
    os.write(writes, b"one\ntwo")
    os.close(writes)
    thread.join(60)
    os.close(target)
    with os.fdopen(reads, "rb") as file:
        assert file.read() == b"one\ntwo\n"
    assert list(lines.last) == [b"one", b"two"]
