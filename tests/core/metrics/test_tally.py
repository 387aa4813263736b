"""Tally: the sums of batches, in all and by size."""

from __future__ import annotations

from torchserve.core.metrics.tally import BatchTally, Tally


def test_batches_are_summed_in_all_and_by_size() -> None:
    tally = Tally()
    tally.batch(2, took=3.0, handler=1.0, now=10.0)
    tally.batch(1, took=5.0, handler=4.0, now=20.0)
    tally.batch(2, took=7.0, handler=6.0, now=30.0)
    assert (tally.batches, tally.requests, tally.worked, tally.handling, tally.last) == (3, 5, 15.0, 11.0, 30.0)
    assert tally.sizes == {2: BatchTally(2, 7.0, 10.0), 1: BatchTally(1, 4.0, 5.0)}
