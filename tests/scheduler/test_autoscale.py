"""How many workers are wanted: tables, what always holds, and whole days in a moment."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.scheduler.autoscale import REGRET, RETRY, Autoscaler, Observation
from torchserve.scheduler.job import Batch, Job
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.policy import BatchPolicy
from torchserve.scheduler.virtual_time import VirtualLoop

from .drawn import examples

DOWN_AFTER = 60.0
QUIET = Observation(arrived=0, queued=0, free=1, seconds_per_job=0.1, workers=1, loading=0, minimum=1, maximum=4)


class Host:
    """A model under load: each second it is looked at, and what is wanted is had at once."""

    def __init__(self, **seen: float) -> None:
        self.seen = replace(QUIET, **seen)
        self.scaler = Autoscaler(DOWN_AFTER)
        self.now = 0.0

    def run(self, seconds: int, rate: float, **seen: float) -> list[int]:
        """So many seconds with `rate` arrivals in each; how many workers there were after each."""
        self.seen = replace(self.seen, **seen)
        counts: list[int] = []
        for _ in range(seconds):
            self.now += 1.0
            self.seen = replace(self.seen, arrived=self.seen.arrived + round(rate))
            self.seen = replace(self.seen, workers=self.scaler.wanted(self.seen, self.now))
            counts.append(self.seen.workers)
        return counts


@pytest.mark.parametrize(
    ("rate", "seen", "wanted"),
    [
        (9, {"queued": 3, "free": 0}, 2),  # 0.9 workers' work, and it waits
        (9, {"queued": 3, "free": 1}, 1),  # what waits, waits for company
        (9, {"queued": 0, "free": 0}, 1),  # busy, and nobody waits: a client in a loop
        (7, {"queued": 3, "free": 0}, 1),  # a short queue that one worker gets done with
        (25, {"queued": 3, "free": 0}, 4),
        (900, {"queued": 3, "free": 0}, 4),  # never above the maximum
        (900, {"queued": 3, "free": 0, "seconds_per_job": 0.0}, 1),  # nothing is known
        (900, {"queued": 3, "free": 0, "workers": 0, "minimum": 0}, 0),  # nobody asked for workers
        (900, {"queued": 3, "free": 0, "loading": 1}, 1),  # one is on its way: first see what that helps
        (0, {"queued": 100, "free": 0, "seconds_per_job": 0.1}, 2),  # 10 s of work wait, though nothing comes
        (0, {"workers": 4}, 1),
        (0, {"workers": 4, "minimum": 0}, 1),  # the last one isn't taken away
        (0, {"workers": 4, "minimum": 3}, 3),
        (16, {"workers": 4}, 4),  # 1.6: three would do at 0.53 each, but narrowly
        (14, {"workers": 4}, 3),
        (0, {"workers": 4, "queued": 9, "free": 0}, 4),  # they wait: this is not the time
        (0, {"workers": 9}, 1),  # more than there may be
    ],
)
def test_a_load_that_stays(rate: float, seen: dict[str, float], wanted: int) -> None:
    host = Host(**seen)
    assert host.run(600, rate)[-1] == wanted
    assert set(host.run(600, rate)) == {wanted}


def test_it_takes_a_moment_to_add_one_and_a_minute_to_take_one_away() -> None:
    host = Host()
    up = host.run(60, 9, queued=3, free=0)
    assert 2 <= up.index(2) <= 10
    down = host.run(200, 0, queued=0, free=2)
    assert DOWN_AFTER <= down.index(1) <= DOWN_AFTER + 15


def test_a_second_of_crowd_changes_nothing() -> None:
    host = Host()
    for _ in range(50):
        assert set(host.run(1, 30, queued=3, free=0) + host.run(9, 3, queued=0, free=1)) == {1}


def test_a_busy_moment_begins_the_wait_anew() -> None:
    host = Host(workers=2)
    for _ in range(5):
        assert set(host.run(50, 0)) == {2}
        assert set(host.run(10, 9)) == {2}
    assert 1 in host.run(90, 0)


def test_after_a_failure_none_is_added_for_a_while() -> None:
    host = Host(queued=3, free=0)
    host.scaler.failed(0.0)
    assert set(host.run(int(RETRY) - 1, 9)) == {1}
    assert host.run(3, 9)[-1] == 2


def test_asked_twice_in_a_moment_it_says_the_same() -> None:
    host = Host(queued=3, free=0)
    host.run(20, 9)
    assert host.scaler.wanted(host.seen, host.now) == host.seen.workers == 2


@pytest.mark.parametrize(
    ("slowdown", "rest"),
    [
        (1.0, 1),  # they share one core: two are half as fast each
        (0.9, 1),
        (0.5, 4),  # four do twice the work of one
        (0.0, 4),
    ],
)
def test_workers_that_only_slow_each_other_down_go_again(slowdown: float, rest: int) -> None:
    host = Host(queued=50, free=0)
    counts: list[int] = []
    for _ in range(300):
        counts += host.run(1, 90, seconds_per_job=0.1 * host.seen.workers**slowdown)
    assert max(counts) > 1
    assert counts[-1] == rest
    assert set(counts[-200:]) == {rest}


def test_what_did_not_help_is_tried_again_later_and_the_minimum_counts() -> None:
    host = Host(queued=50, free=0)
    counts: list[int] = []
    for _ in range(int(REGRET) + 100):
        counts += host.run(1, 90, seconds_per_job=0.1 * host.seen.workers)
    ups = [at for at, (before, after) in enumerate(itertools.pairwise(counts)) if after > before]
    assert len(ups) == 2
    assert ups[1] - ups[0] >= REGRET
    host.seen = replace(host.seen, minimum=3)
    assert host.run(50, 90, seconds_per_job=0.3)[-1] >= 3


def test_one_that_takes_its_time_to_load_is_judged_from_then_on() -> None:
    host = Host(queued=50, free=0)
    assert host.run(10, 90)[-1] == 4
    assert set(host.run(100, 90, loading=3, seconds_per_job=0.4)) == {4}
    assert set(host.run(15, 90, loading=0)) == {4}
    assert host.run(2, 90)[-1] == 1


# ---- what always holds

moments = st.builds(
    Observation,
    arrived=st.integers(0, 10_000),
    queued=st.integers(0, 1000),
    free=st.integers(0, 8),
    seconds_per_job=st.sampled_from([0.0, 1e-4, 0.01, 0.1, 3.0]),
    workers=st.integers(0, 12),
    loading=st.integers(0, 3),
    minimum=st.integers(0, 4),
    maximum=st.integers(4, 8),
)


@given(st.lists(st.tuples(moments, st.floats(0.0, 200.0)), max_size=60))
def test_the_bounds_are_kept_whatever_is_seen(history: list[tuple[Observation, float]]) -> None:
    scaler, now, arrived = Autoscaler(DOWN_AFTER), 0.0, 0
    for seen, passed in history:
        now, arrived = now + passed, arrived + seen.arrived
        wanted = scaler.wanted(replace(seen, arrived=arrived), now)
        assert seen.minimum <= wanted <= seen.maximum
        assert 0.0 <= scaler.crowded <= 1.0
        assert scaler.load >= 0.0
        if seen.loading and seen.workers:
            assert wanted <= max(seen.workers, seen.minimum)


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 50), st.integers(0, 2)), min_size=50, max_size=400))
def test_it_never_takes_two_away_within_the_time_set(history: list[tuple[int, int, int]]) -> None:
    host, downs = Host(maximum=8), [-math.inf]
    for arrivals, queued, free in history:
        before = host.seen.workers
        (after,) = host.run(1, arrivals, queued=queued, free=free)
        if after < before:
            assert after == before - 1
            assert host.now - downs[-1] >= DOWN_AFTER
            downs.append(host.now)


@given(st.floats(0.0, 12.0), st.integers(1, 8), st.sampled_from([0.01, 0.1, 1.0]))
@examples(0.6)
def test_under_a_steady_load_it_comes_to_rest_and_never_turns_up_again(
    load: float, start: int, seconds_per_job: float
) -> None:
    day = Day(seconds_per_job=seconds_per_job, workers=start)
    counts = day.run(1800, lambda at: load / seconds_per_job)
    ups = [after > before for before, after in itertools.pairwise(counts) if after != before]
    assert ups == sorted(ups, reverse=True)  # first those up, then those down
    assert len(set(counts[-300:])) == 1


# ---- days


class Day:
    """A queue of 100 and its workers, second by second: what comes, what is done, what is refused."""

    def __init__(self, seconds_per_job: float = 0.1, workers: int = 1, maximum: int = 8, starts_in: int = 0) -> None:
        self.seconds_per_job = seconds_per_job
        self.workers = workers
        self.maximum = maximum
        self.starts_in = starts_in
        self.scaler = Autoscaler(DOWN_AFTER)
        self.arrived = self.refused = self.worker_seconds = 0
        self.queued = 0.0

    def run(self, seconds: int, rate, chance: random.Random | None = None) -> list[int]:
        counts: list[int] = []
        loading: list[int] = []  # when each of those on the way is ready
        owed = 0.0
        for at in range(seconds):
            owed += chance.gauss(rate(at), math.sqrt(rate(at))) if chance else rate(at)
            coming = max(0, math.floor(owed))
            owed -= coming
            loading = [ready for ready in loading if ready > at]
            serving = self.workers - len(loading)
            free = serving / self.seconds_per_job
            left = max(0.0, self.queued + coming - free)
            self.refused += max(0, math.ceil(left - 100))
            self.arrived += coming
            self.queued = min(100.0, left)
            seen = Observation(
                self.arrived, math.ceil(self.queued), 0 if self.queued else 1, self.seconds_per_job, self.workers, len(loading),
                1, self.maximum,
            )  # fmt: skip
            wanted = self.scaler.wanted(seen, float(at))
            loading += [at + self.starts_in] * max(0, wanted - self.workers)
            self.workers = wanted
            self.worker_seconds += wanted
            counts.append(wanted)
        return counts


def test_a_day_with_a_quiet_night_and_a_busy_noon() -> None:
    day = Day(starts_in=20)
    peak = 45.0  # a second: 4.5 workers' work

    def rate(at: float) -> float:
        return 2.0 + peak * max(0.0, math.sin(2 * math.pi * (at / 86400 - 0.25)))

    counts = day.run(86400, rate, random.Random(1))
    changes = sum(before != after for before, after in itertools.pairwise(counts))
    assert counts[0] == counts[-1] == 1
    assert 5 <= max(counts) <= 8
    assert changes < 40
    assert day.refused < day.arrived / 1000
    needed = sum(rate(at) for at in range(86400)) * day.seconds_per_job
    assert day.worker_seconds < 2.6 * needed


def test_bursts_that_come_every_ten_minutes_do_not_make_it_flap_faster_than_it_may() -> None:
    day = Day(starts_in=5)
    counts = day.run(86400, lambda at: 30.0 if at % 600 < 60 else 1.0, random.Random(2))
    downs = [at for at, (before, after) in enumerate(itertools.pairwise(counts)) if after < before]
    assert all(later - earlier >= DOWN_AFTER for earlier, later in itertools.pairwise(downs))
    assert day.refused < day.arrived / 10


# ---- with the real scheduler


class Taking:
    """Takes half a second over each batch."""

    name = "runner"
    device = "cpu"

    def __init__(self, scheduler: ModelScheduler) -> None:
        self._scheduler = scheduler
        scheduler.attach(self)

    def run(self, batch: Batch) -> None:
        asyncio.get_running_loop().call_later(0.5, self._scheduler.finish, batch, [None] * len(batch.jobs))

    def batch_started(self, batch: Batch) -> None:
        raise AssertionError("batches take too long to go ahead")


class Counting:
    def __init__(self) -> None:
        self.done_ = 0

    def chunk(self, item: object) -> None:
        raise AssertionError

    def done(self, item: object) -> None:
        self.done_ += 1

    def fail(self, error: Exception) -> None:
        raise error


def test_an_hour_of_a_real_queue() -> None:
    """Six requests a second, of which a worker does two: it finds the workers that this takes, and keeps them."""
    loop = VirtualLoop()

    async def hour() -> list[int]:
        scheduler, scaler = ModelScheduler(BatchPolicy(queue_size=10_000)), Autoscaler(DOWN_AFTER)
        sink, chance = Counting(), random.Random(3)
        workers, arrived, counts = [Taking(scheduler)], 0, []
        second = 0.0
        while second < 3600:
            second += 1.0
            while loop.time() < second:
                await asyncio.sleep(chance.expovariate(6.0))
                scheduler.submit(Job(str(arrived), None, sink))
                arrived += 1
            seen = Observation(
                arrived, scheduler.queued, scheduler.free, scheduler.seconds_per_job, len(workers), 0, 1, 8
            )
            wanted = scaler.wanted(seen, loop.time())
            workers += [Taking(scheduler) for _ in range(wanted - len(workers))]
            while len(workers) > wanted:
                scheduler.detach(workers.pop())
            counts.append(wanted)
        await scheduler.idle()
        assert sink.done_ == arrived
        return counts

    counts = loop.run_until_complete(hour())
    loop.close()
    assert counts[0] == 1
    assert 4 <= counts[-1] <= 6
    assert sum(before != after for before, after in itertools.pairwise(counts)) < 12
