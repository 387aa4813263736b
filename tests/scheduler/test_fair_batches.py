"""Batches of clients that take turns, and who is refused when the queue is full."""

from __future__ import annotations

import math
from heapq import heappop, heappush

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.scheduler.batcher import Batcher, Refuse, Run
from torchserve.scheduler.errors import QueueFull, WouldBeLate
from torchserve.scheduler.job import Batch, Job
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


_GAPS = st.sampled_from([0.0, 0.0, 0.0, 0.001, 0.004, 0.05])  # bursts, which fill the queue
_ARRIVALS = st.lists(st.tuples(st.sampled_from("aaabq"), _GAPS), min_size=1, max_size=60)


@given(
    st.sampled_from(["adaptive", "eager", "fixed"]),
    st.integers(1, 4),
    st.floats(0.0, 0.05),
    st.integers(1, 2),
    st.sampled_from([0.25, 1.0, 4.0]),
    _ARRIVALS,
)
def test_no_worker_idles_while_a_job_waits_for_longer_than_a_batch_may(
    rule: str, largest: int, delay: float, workers: int, weight: float, arrivals: list[tuple[str, float]]
) -> None:
    """Whoever sends and however much, with a queue of four: a free worker gets what waits within `delay`, and in the end
    each request is answered or refused.
    """
    batcher = Batcher(BatchPolicy(largest, delay, 4, rule, shares=SharePolicy({"q": weight})))
    ends: list[tuple[float, int, Batch]] = []
    busy_until: dict[object, float] = {}
    answered: set[str] = set()
    for number in range(workers):
        batcher.ready(Nobody(f"r{number}"), 0.0)

    def act(now: float) -> None:
        for effect in batcher.collect(now):
            if isinstance(effect, Run):
                begins = max(now, busy_until.get(effect.runner, 0.0))
                at = busy_until[effect.runner] = begins + 0.004 + 0.001 * len(effect.batch.jobs)
                heappush(ends, (at, effect.batch.id, effect.batch))
            elif isinstance(effect, Refuse):
                answered.add(effect.job.id)
        if batcher.queued and batcher.free:
            at_last = batcher.wakeup()
            assert at_last is not None
            assert now < at_last <= now + delay + 1e-9

    now, coming, offered = 0.0, list(reversed(arrivals)), 0
    arrives = coming[-1][1]
    while coming or ends or batcher.queued:
        wakes = batcher.wakeup()
        ended = ends[0][0] if ends else math.inf
        now = max(now, min(arrives, ended, math.inf if wakes is None else wakes))
        assert now < math.inf, "jobs wait, and nothing will ever happen"
        if arrives <= now:
            client, _ = coming.pop()
            offered += 1
            try:
                batcher.offer(job(str(offered), now, client=client), now)
            except QueueFull:
                answered.add(str(offered))
            arrives = now + coming[-1][1] if coming else math.inf
        elif ended <= now:
            batch = heappop(ends)[2]
            answered.update(each.id for each in batch.jobs)
            batcher.ended(batch, now, worked=True)
        act(now)
    assert answered == {str(each) for each in range(1, len(arrivals) + 1)}
