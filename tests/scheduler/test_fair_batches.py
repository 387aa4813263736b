"""Batches of clients that take turns, and who is refused when the queue is full."""

from __future__ import annotations

import pytest

from torchserve.scheduler.batcher import Batcher, Refuse, Run
from torchserve.scheduler.errors import QueueFull, WouldBeLate
from torchserve.scheduler.job import Job
from torchserve.scheduler.policy import BatchPolicy, SharePolicy

from .doubles import Nobody, job


def shared(queue_size: int = 4, batch_size: int = 4) -> Batcher:
    """A batcher whose clients take turns."""
    return Batcher(BatchPolicy(batch_size, 1.0, queue_size, shares=SharePolicy()))


def sent(batcher: Batcher, names: str, now: float = 0.0) -> list[Job]:
    """Offer a job of each client, by its name."""
    jobs = [job(name, now, client=name) for name in names]
    for each in jobs:
        batcher.offer(each, now)
    return jobs


def test_a_batch_is_made_of_all_clients_turns_and_no_smaller_for_that() -> None:
    batcher = shared(100)
    sent(batcher, "nnnnnnqq")
    batcher.ready(Nobody("r"), 0.0)
    (run,) = batcher.collect(0.0)
    assert isinstance(run, Run)
    assert "".join(each.id for each in run.batch.jobs) == "nqnq"


def test_who_fills_the_queue_makes_room_for_who_does_not() -> None:
    batcher = shared()
    jobs = sent(batcher, "nnnn")
    with pytest.raises(QueueFull):
        sent(batcher, "q")  # before it was asked which of them a worker takes
    assert batcher.collect(0.0) == []
    (quiet,) = sent(batcher, "q")
    with pytest.raises(QueueFull):
        sent(batcher, "n")
    (refused,) = batcher.collect(0.0)
    assert isinstance(refused, Refuse)
    assert isinstance(refused.error, QueueFull)
    assert refused.job is jobs[-1]
    assert batcher.queued == 4
    batcher.cancel(quiet, 0.0)
    assert batcher.queued == 3


@pytest.mark.parametrize(("names", "ahead"), [("nnnnnnnn", 1), ("qnnnnnnnn", 0)])
def test_nothing_is_handed_over_ahead_while_several_clients_send(names: str, ahead: int) -> None:
    batcher = shared(100, batch_size=2)
    runner = Nobody("r")
    batcher.ready(runner, 0.0)
    for _ in range(3):
        batcher._runners.latency(runner).record(2, 0.002)
    sent(batcher, names)
    runs = [each for each in batcher.collect(0.0) if isinstance(each, Run)]
    assert [each.prefetched for each in runs] == [False, True][: 1 + ahead]


def test_the_prediction_of_who_is_late_goes_by_turns() -> None:
    batcher = shared(100, batch_size=2)
    runner = Nobody("r")
    batcher.ready(runner, 0.0)
    for _ in range(3):
        batcher._runners.latency(runner).record(2, 1.0)
    sent(batcher, "n" * 20)
    with pytest.raises(WouldBeLate):
        batcher.offer(job("n", 0.0, client="n", deadline=5.0), 0.0)
    batcher.offer(job("q", 0.0, client="q", deadline=5.0), 0.0)
