"""What growth of the front under load is let pass, and that a planted leak which isn't seen is a failure."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import psutil
import pytest

from benchmarks.endurance import MOST, PER, finding
from benchmarks.leaks import LeakMonitor


def watched(mib_per_reading: float) -> LeakMonitor:
    """100,000 requests between one reading and the next."""
    now = SimpleNamespace(number=0)
    process = SimpleNamespace(
        memory_info=lambda: SimpleNamespace(rss=int((50 + now.number * mib_per_reading) * 2**20)), num_fds=lambda: 30
    )
    monitor = LeakMonitor(cast(psutil.Process, process), most_bytes=MOST / PER)
    for now.number in range(5):
        monitor.read(now.number * PER)
    return monitor


@pytest.mark.parametrize(("grows", "expected", "met"), [
    (0.0, [], True),
    (0.9, [], True),
    (1.1, [], False),
    (2.0, ["memory"], True),
    (0.9, ["memory"], False),
])  # fmt: skip
def test_a_mebibyte_for_each_hundred_thousand_requests_is_the_bound(
    grows: float, expected: list[str], met: bool
) -> None:
    assert finding("this", watched(grows), expected).met is met


def test_a_finding_says_by_how_much_it_grows() -> None:
    assert str(finding("an hour", watched(0.5), [])) == (
        "| an hour | 400,000 requests, +0.500 MiB each 100,000; 52 MiB in the end | < 1 MiB | yes |"
    )
