"""What grows is seen, and what wanders is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import psutil
import pytest

from benchmarks.leaks import LeakMonitor, slope


@pytest.mark.parametrize(
    ("counts", "readings", "expected"),
    [
        ([0, 1], [5, 5], 0.0),
        ([0, 10, 20], [1, 2, 3], 0.1),
        ([0, 1, 2, 3], [10, 9, 8, 7], -1.0),
        ([0, 1, 2, 3], [0, 2, 0, 2], 0.4),
    ],
)
def test_slopes(counts: list[int], readings: list[int], expected: float) -> None:
    assert slope(counts, readings) == pytest.approx(expected)


def test_one_count_has_no_slope() -> None:
    with pytest.raises(ValueError, match="two counts"):
        slope([3, 3], [1, 2])


@pytest.mark.parametrize(
    ("memory", "files", "leaks"),
    [
        ([0, 0, 0, 0], [9, 9, 9, 9], []),
        ([0, 4096, 0, 4096], [9, 10, 9, 9], []),  # the allocator's wandering, and a connection that was just open
        ([0, 1 << 20, 2 << 20, 3 << 20], [9, 9, 9, 9], ["memory"]),
        ([0, 0, 0, 0], [9, 19, 29, 39], ["files"]),
        ([9 << 20, 3 << 20, 3 << 20, 3 << 20], [40, 9, 9, 9], []),
        ([0, 1 << 20, 2 << 20, 3 << 20], [9, 19, 29, 39], ["memory", "files"]),
    ],
)
def test_what_grows_is_a_leak(memory: list[int], files: list[int], leaks: list[str]) -> None:
    at = iter(range(4))
    now = SimpleNamespace(number=0)
    process = SimpleNamespace(
        memory_info=lambda: SimpleNamespace(rss=memory[now.number]), num_fds=lambda: files[now.number]
    )
    monitor = LeakMonitor(cast(psutil.Process, process))
    for now.number in at:
        monitor.read(now.number * 1000)
    assert monitor.leaks == leaks
