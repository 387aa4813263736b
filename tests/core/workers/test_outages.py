"""Outages: the seconds in which no worker of a model has served."""

from __future__ import annotations

from torchserve.core.workers.outages import Outages


def test_only_the_time_without_any_worker_counts() -> None:
    now = [100.0]
    outages = Outages(lambda: now[0])
    found: list[tuple[float, bool, int]] = []
    for after, event, worker in (
        (3.0, outages.ended, "a"),  # which has never served
        (1.0, outages.began, "a"),
        (5.0, outages.began, "b"),
        (5.0, outages.ended, "a"),
        (5.0, outages.ended, "b"),
        (2.0, outages.began, "c"),
        (7.0, outages.ended, "c"),
        (0.5, outages.ended, "c"),
    ):
        now[0] += after
        event(worker)
        found.append((outages.seconds, outages.going_on, outages.number))
    assert found == [
        (3.0, True, 1),
        (4.0, False, 1),
        (4.0, False, 1),
        (4.0, False, 1),
        (4.0, True, 2),
        (6.0, False, 2),
        (6.0, True, 3),
        (6.5, True, 3),
    ]
