"""A batcher and a plain list under random use: after each step they must agree."""

from __future__ import annotations

import math

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from torchserve.scheduler.batcher import Batcher, Expire, Run
from torchserve.scheduler.errors import QueueFull
from torchserve.scheduler.job import Batch, Cause, Job
from torchserve.scheduler.policy import BatchPolicy

from .doubles import Nobody, job


class Model(RuleBasedStateMachine):
    """A batcher and a plain list. After each step it collects, as the lane does, and everything must agree."""

    rule_name = "eager"

    def __init__(self) -> None:
        super().__init__()
        self.policy = BatchPolicy(batch_size=3, max_batch_delay=1.0, queue_size=5, rule=self.rule_name)
        self.batcher = Batcher(self.policy)
        self.now = 0.0
        self.queue: list[Job] = []
        self.offered: list[Job] = []
        self.ended: set[int] = set()
        self.free: list[Nobody] = []
        self.busy: list[Batch] = []
        self.announced: list[float] = []
        self.batches = 0

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.3, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        """In steps, as the lane's timer has it: never past a wakeup."""
        until = self.now + seconds
        while (wakeup := self.batcher.wakeup()) is not None and wakeup <= until:
            assert wakeup > self.now
            self.now = wakeup
            self.collect()
        self.now = until

    @rule(lasts=st.sampled_from([None, None, 0.0, 0.2, 0.7, 3.0]), alone=st.sampled_from([False, False, False, True]))
    def offer(self, lasts: float | None, alone: bool) -> None:
        new = job(str(len(self.offered)), self.now, None if lasts is None else self.now + lasts, alone=alone)
        if len(self.queue) >= self.policy.queue_size:
            with pytest.raises(QueueFull):
                self.batcher.offer(new, self.now)
        else:
            self.batcher.offer(new, self.now)
            self.queue.append(new)
            self.offered.append(new)
        self.collect()

    @rule()
    def announce(self) -> None:
        self.batcher.announce(self.now)
        self.announced.append(self.now)
        self.collect()

    @precondition(lambda self: self.announced)
    @rule()
    def retract(self) -> None:
        self.batcher.retract(self.now)
        self.announced.pop()
        self.collect()

    @precondition(lambda self: len(self.free) + len(self.busy) < 3)
    @rule()
    def new_runner(self) -> None:
        self.free.append(Nobody(f"runner {self.now}"))
        self.batcher.ready(self.free[-1], self.now)
        self.collect()

    @precondition(lambda self: self.busy)
    @rule(which=st.integers(0, 9))
    def finished(self, which: int) -> None:
        batch = self.busy.pop(which % len(self.busy))
        assert isinstance(batch.runner, Nobody)
        self.free.append(batch.runner)
        assert self.batcher.ended(batch, self.now, worked=True) is None
        self.collect()

    @precondition(lambda self: self.free)
    @rule(which=st.integers(0, 9))
    def died(self, which: int) -> None:
        self.batcher.gone(self.free.pop(which % len(self.free)), self.now)
        self.collect()

    @precondition(lambda self: self.offered)
    @rule(which=st.integers(0, 99))
    def cancel(self, which: int) -> None:
        victim = self.offered[which % len(self.offered)]
        self.batcher.cancel(victim, self.now)
        if victim in self.queue:
            self.queue.remove(victim)
            self.ended.add(victim.seq)
        self.collect()

    def collect(self) -> None:
        for effect in self.batcher.collect(self.now):
            if isinstance(effect, Expire):
                assert effect.job.expires is not None
                assert effect.job.expires <= self.now
                self.leaves(effect.job)
            else:
                assert isinstance(effect, Run)
                self.runs(effect)
        assert not self.batcher.collect(self.now), "an effect is returned once"

    def runs(self, effect: Run) -> None:
        batch = effect.batch
        assert effect.runner is self.free.pop(0), "the longest idle"
        assert isinstance(effect.runner, Nobody)
        self.busy.append(batch)
        assert batch.id == self.batches + 1
        self.batches = batch.id
        assert 1 <= len(batch.jobs) <= self.policy.batch_size
        living = [each for each in self.queue if each.expires is None or each.expires > self.now]
        assert list(batch.jobs) == living[: len(batch.jobs)], "in order of arrival, none passed over"
        assert len(batch.jobs) == 1 or not any(each.alone for each in batch.jobs)
        self.why(batch, living)
        for each in batch.jobs:
            assert not each.cancelled
            assert each.started == self.now
            self.leaves(each)

    def why(self, batch: Batch, living: list[Job]) -> None:
        more = living[len(batch.jobs) :]
        if batch.cause is Cause.FULL:
            assert len(batch.jobs) == self.policy.batch_size
        elif batch.cause is Cause.ALONE:
            assert batch.jobs[0].alone or more[0].alone
        else:
            assert not more, "a batch that isn't full takes all"
            oldest = batch.jobs[0].arrived
            if self.rule_name == "eager" and self.announced:
                oldest = min(oldest, self.announced[-1])
            due = oldest + self.policy.max_batch_delay <= self.now
            assert due if batch.cause is Cause.DELAY else self.rule_name == "eager" and not self.announced

    def leaves(self, gone: Job) -> None:
        assert gone.seq not in self.ended, "nobody is answered twice"
        self.ended.add(gone.seq)
        self.queue.remove(gone)

    @invariant()
    def nobody_is_lost(self) -> None:
        assert len(self.ended) + len(self.queue) == len(self.offered)
        assert self.batcher.queued == len(self.queue) <= self.policy.queue_size
        assert self.batcher.free == len(self.free)
        assert self.batcher.announced == len(self.announced)

    @invariant()
    def nobody_waits_too_long(self) -> None:
        """Checked between steps, when the last collect may have been a jump of time ago."""
        self.collect()
        wakeup = self.batcher.wakeup()
        deadline = min([each.expires for each in self.queue if each.expires is not None], default=math.inf)
        assert deadline > self.now
        if self.queue and self.free:
            assert self.rule_name == "fixed" or self.announced
            deadline = min(deadline, self.queue[0].arrived + self.policy.max_batch_delay)
            assert self.now < deadline
        if deadline < math.inf:
            assert wakeup is not None
            assert self.now < wakeup <= deadline


class FixedModel(Model):
    rule_name = "fixed"


TestEager = Model.TestCase
TestFixed = FixedModel.TestCase
TestEager.settings = TestFixed.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
