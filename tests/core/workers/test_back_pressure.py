"""Slow readers of streamed answers: for whom a worker waits, and how long the others have to."""

from __future__ import annotations

import math

from torchserve.core.workers.back_pressure import PATIENCE, BackPressure
from torchserve.scheduler.job import Job


class Sink:
    def chunk(self, item: object) -> None: ...

    def done(self, item: object) -> None: ...

    def fail(self, error: Exception) -> None: ...


class Reading:
    """Whether a worker is read from, and how often that changed."""

    def __init__(self) -> None:
        self.on = True
        self.changes = 0

    def pause(self) -> None:
        assert self.on
        self.on = False
        self.changes += 1

    def resume(self) -> None:
        assert not self.on
        self.on = True
        self.changes += 1


def subject(count: int) -> tuple[BackPressure, Reading, list[Job]]:
    reading = Reading()
    return BackPressure(reading.pause, reading.resume), reading, [Job(str(i), None, Sink()) for i in range(count)]


def test_a_job_that_runs_alone_may_be_held_for_ever_and_is_read_on_for() -> None:
    pressure, reading, (job,) = subject(1)
    for now in (1.0, 5.0, 1e9):
        assert pressure.hold(job, [job], now) == math.inf
        assert (reading.on, pressure.waiting) == (False, True)
    pressure.release(job, [job], 2e9)
    pressure.release(job, [job], 2e9)
    assert (reading.on, pressure.waiting, reading.changes) == (True, False, 2)


def test_a_job_waits_for_others_so_long_in_all_and_no_longer() -> None:
    pressure, reading, (slow, other) = subject(2)
    both = [slow, other]
    assert pressure.hold(slow, both, 100.0) == PATIENCE
    assert pressure.hold(slow, both, 103.0) == PATIENCE - 3.0
    pressure.release(slow, both, 104.0)
    assert reading.on
    assert pressure.hold(slow, both, 200.0) == PATIENCE - 4.0
    pressure.release(slow, both, 206.0)
    assert pressure.hold(slow, both, 300.0) == 0.0


def test_slow_readers_share_what_the_others_have_to_wait() -> None:
    pressure, reading, (one, two, other) = subject(3)
    company = [one, two, other]
    pressure.hold(one, company, 0.0)
    assert pressure.hold(two, company, 2.0) == PATIENCE - 2.0
    pressure.release(one, company, 3.0)
    assert not reading.on, "for the second one it still waits"
    pressure.release(two, company, 4.0)
    assert reading.on
    assert pressure.hold(one, company, 10.0) == PATIENCE - 4.0


def test_two_slow_readers_by_themselves_wait_for_each_other_only() -> None:
    pressure, _, (one, two) = subject(2)
    pressure.hold(one, [one, two], 0.0)
    assert pressure.hold(two, [one, two], 50.0) == math.inf


def test_a_client_that_has_left_waits_for_nobody_and_a_job_that_has_ended_is_forgotten() -> None:
    pressure, _, (slow, gone, new) = subject(3)
    gone.cancelled = True
    assert pressure.hold(slow, [slow, gone], 0.0) == math.inf
    pressure.release(slow, [slow, gone], 50.0)
    assert pressure.hold(slow, [slow, new], 60.0) == PATIENCE, "it came later"
