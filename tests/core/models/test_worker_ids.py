"""The numbers of workers."""

from __future__ import annotations

from torchserve.core.models.worker_ids import WorkerIds


def test_they_count_from_the_setting_and_never_repeat() -> None:
    numbers = WorkerIds(9000)
    assert [numbers.next() for _ in range(1000)] == list(range(9000, 10000))
