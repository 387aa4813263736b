"""The latest lines of the log, for pages."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from torchserve.core.logs.line import Line
from torchserve.core.logs.tail import KEPT, LONGEST, LogTail


@settings(max_examples=25)
@given(st.lists(st.integers(0, KEPT + 20), max_size=6))
def test_each_line_is_got_once_unless_too_many_came_since(bursts: list[int]) -> None:
    tail, number, total = LogTail(), 0, 0
    for burst in bursts:
        for index in range(total, total + burst):
            tail.add(Line(float(index), 20, "main", "x", str(index)))
        total += burst
        number, lines = tail.since(number)
        assert [each["message"] for each in lines] == [str(each) for each in range(total - min(burst, KEPT), total)]
        assert number == total


def test_a_line_is_cut_and_what_could_steer_a_reader_is_escaped() -> None:
    tail = LogTail()
    tail.add(Line(1.5, 40, "W-1", "x", "a\r\u202e" + "b" * 5000, "", "first\n" + "t" * 5000))
    _, (line,) = tail.since(0)
    assert line["message"].startswith("a\\r\\u202eb")
    assert len(line["message"]) <= LONGEST + 10
    assert len(line["trace"]) == LONGEST
    assert (line["level"], line["thread"], line["at"]) == ("ERROR", "W-1", 1.5)
