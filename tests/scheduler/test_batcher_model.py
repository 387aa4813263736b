"""A batcher and a plain list under random use: after each step they must agree."""

from __future__ import annotations

import math

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from torchserve.scheduler.batcher import Batcher, Expire, Refuse, Run
from torchserve.scheduler.errors import QueueFull, WouldBeLate
from torchserve.scheduler.job import Batch, Job, ReleaseReason
from torchserve.scheduler.policy import BatchPolicy, SharePolicy

from .doubles import Nobody, job
from .drawn import examples


class Model(RuleBasedStateMachine):
    """A batcher and a plain list. After each step it collects, as the scheduler does, and everything must agree."""

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
        self.bodies_arriving: list[float] = []
        self.batches = 0

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.3, 1.0, 5.0]))
    def time_passes(self, seconds: float) -> None:
        """In steps, as the scheduler's timer has it: never past a wakeup."""
        until = self.now + seconds
        while (wakeup := self.batcher.wakeup()) is not None and wakeup <= until:
            assert wakeup > self.now
            self.now = wakeup
            self.collect()
        self.now = until

    @rule(
        lasts=st.sampled_from([None, None, 0.0, 0.2, 0.7, 3.0]), exclusive=st.sampled_from([False, False, False, True])
    )
    def offer(self, lasts: float | None, exclusive: bool) -> None:
        new = job(str(len(self.offered)), self.now, None if lasts is None else self.now + lasts, exclusive=exclusive)
        if len(self.queue) >= self.policy.queue_size:
            with pytest.raises(QueueFull):
                self.batcher.offer(new, self.now)
        else:
            self.batcher.offer(new, self.now)
            self.queue.append(new)
            self.offered.append(new)
        self.collect()

    @rule()
    def body_started(self) -> None:
        self.batcher.body_started(self.now)
        self.bodies_arriving.append(self.now)
        self.collect()

    @precondition(lambda self: self.bodies_arriving)
    @rule()
    def body_finished(self) -> None:
        self.batcher.body_finished(self.now)
        self.bodies_arriving.pop()
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
        assert len(batch.jobs) == 1 or not any(each.exclusive for each in batch.jobs)
        self.why(batch, living)
        for each in batch.jobs:
            assert not each.cancelled
            assert each.started == self.now
            self.leaves(each)

    def why(self, batch: Batch, living: list[Job]) -> None:
        more = living[len(batch.jobs) :]
        if batch.reason is ReleaseReason.FULL:
            assert len(batch.jobs) == self.policy.batch_size
        elif batch.reason is ReleaseReason.EXCLUSIVE:
            assert batch.jobs[0].exclusive or more[0].exclusive
        else:
            assert not more, "a batch that isn't full takes all"
            oldest = batch.jobs[0].arrived
            if self.rule_name == "eager" and self.bodies_arriving:
                oldest = min(oldest, self.bodies_arriving[-1])
            due = oldest + self.policy.max_batch_delay <= self.now
            assert (
                due if batch.reason is ReleaseReason.DELAY else self.rule_name == "eager" and not self.bodies_arriving
            )

    def leaves(self, gone: Job) -> None:
        assert gone.seq not in self.ended, "nobody is answered twice"
        self.ended.add(gone.seq)
        self.queue.remove(gone)

    @invariant()
    def nobody_is_lost(self) -> None:
        assert len(self.ended) + len(self.queue) == len(self.offered)
        assert self.batcher.queued == len(self.queue) <= self.policy.queue_size
        assert self.batcher.free == len(self.free)
        assert self.batcher.bodies_arriving == len(self.bodies_arriving)

    @invariant()
    def nobody_waits_too_long(self) -> None:
        """Checked between steps, when the last collect may have been a jump of time ago."""
        self.collect()
        wakeup = self.batcher.wakeup()
        deadline = min([each.expires for each in self.queue if each.expires is not None], default=math.inf)
        assert deadline > self.now
        if self.queue and self.free:
            assert self.rule_name == "fixed" or self.bodies_arriving
            deadline = min(deadline, self.queue[0].arrived + self.policy.max_batch_delay)
            assert self.now < deadline
        if deadline < math.inf:
            assert wakeup is not None
            assert self.now < wakeup <= deadline


class FixedModel(Model):
    rule_name = "fixed"


TestEager = Model.TestCase
TestFixed = FixedModel.TestCase
TestEager.settings = TestFixed.settings = examples(1.5, steps=40)


class Adaptive(RuleBasedStateMachine):
    """The default rule with everything at once: priorities, deadlines, batches handed over ahead, workers that die.

    What is checked holds whatever it decides: nobody lost, nobody twice, nobody late begun, order within a priority,
    bounds, and that no worker idles while jobs wait past the delay.
    """

    padded_sizes: tuple[int, ...] = ()
    shares: SharePolicy | None = None

    def __init__(self) -> None:
        super().__init__()
        self.policy = BatchPolicy(
            batch_size=4, max_batch_delay=0.05, queue_size=9, padded_sizes=self.padded_sizes, shares=self.shares
        )
        self.batcher = Batcher(self.policy)
        self.now = 0.0
        self.queue: dict[int, Job] = {}
        self.offered = 0
        self.ended: set[int] = set()
        self.runners: dict[Nobody, list[Batch]] = {}

    @rule(seconds=st.sampled_from([0.0, 0.0005, 0.004, 0.02, 0.3, 5.0]))
    def time_passes(self, seconds: float) -> None:
        until = self.now + seconds
        while (wakeup := self.batcher.wakeup()) is not None and wakeup <= until:
            assert wakeup > self.now
            self.now = wakeup
            self.collect()
        self.now = until

    @rule(
        deadline=st.sampled_from([None, None, 0.002, 0.01, 0.1]),
        expires=st.sampled_from([None, None, 0.003, 1.0]),
        priority=st.sampled_from([0, 0, 0, -1, 2]),
        exclusive=st.sampled_from([False, False, False, False, True]),
        client=st.sampled_from(["a", "a", "a", "b", "c"]),
    )
    def offer(self, deadline: float | None, expires: float | None, priority: int, exclusive: bool, client: str) -> None:
        at = self.now
        new = job(
            str(self.offered), at, None if expires is None else at + expires, exclusive=exclusive,
            deadline=None if deadline is None else at + deadline, priority=priority, client=client,
        )  # fmt: skip
        try:
            self.batcher.offer(new, at)
        except QueueFull:
            assert len(self.queue) >= self.policy.queue_size
        except WouldBeLate as error:
            assert deadline is not None or expires is not None
            assert error.needed > error.left
        else:
            self.offered += 1
            self.queue[new.seq] = new
        self.collect()

    @rule()
    def a_body_comes(self) -> None:
        self.batcher.body_started(self.now)
        self.collect()
        self.batcher.body_finished(self.now)
        self.collect()

    @precondition(lambda self: len(self.runners) < 3)
    @rule(device=st.sampled_from(["cpu", "cpu", "gpu"]))
    def new_runner(self, device: str) -> None:
        runner = Nobody(f"runner {self.now}", device)
        self.runners[runner] = []
        self.batcher.ready(runner, self.now)
        self.collect()

    @precondition(lambda self: any(self.runners.values()))
    @rule(which=st.integers(0, 9), worked=st.booleans())
    def finished(self, which: int, worked: bool) -> None:
        busy = [runner for runner, batches in self.runners.items() if batches]
        batches = self.runners[busy[which % len(busy)]]
        begins = self.batcher.ended(batches.pop(0), self.now, worked=worked)
        assert begins is (batches[0] if batches else None)
        self.collect()

    @precondition(lambda self: self.runners)
    @rule(which=st.integers(0, 9))
    def died(self, which: int) -> None:
        runner = list(self.runners)[which % len(self.runners)]
        batches = self.runners.pop(runner)
        self.batcher.gone(runner, self.now)
        if len(batches) == 2:
            self.batcher.requeue(back := batches.pop(), self.now)
            for each in back.jobs:
                self.ended.discard(each.seq)
                if each.cancelled:
                    self.ended.add(each.seq)
                else:
                    self.queue[each.seq] = each
        if batches:
            assert self.batcher.ended(batches[0], self.now, worked=False) is None
        self.collect()

    @precondition(lambda self: self.queue)
    @rule(which=st.integers(0, 99))
    def cancel(self, which: int) -> None:
        victim = list(self.queue.values())[which % len(self.queue)]
        self.batcher.cancel(victim, self.now)
        self.leaves(victim)
        self.collect()

    def collect(self) -> None:
        runs: list[Run] = []
        for effect in self.batcher.collect(self.now):
            if isinstance(effect, Run):
                runs.append(effect)
            elif isinstance(effect, Expire):
                assert effect.job.expires is not None
                assert effect.job.expires <= self.now
                self.leaves(effect.job)
            else:
                displaced = isinstance(effect, Refuse) and isinstance(effect.error, QueueFull)
                assert self.shares if displaced else effect.job.deadline is not None
                self.leaves(effect.job)
        for effect in runs:  # last, as those that were refused were passed over
            self.runs(effect)
        assert not self.batcher.collect(self.now), "an effect is returned once"

    def runs(self, effect: Run) -> None:
        runner, jobs = effect.runner, effect.batch.jobs
        assert isinstance(runner, Nobody)
        batches = self.runners[runner]
        assert len(batches) == int(effect.prefetched)
        batches.append(effect.batch)
        assert 1 <= len(jobs) <= self.policy.batch_size
        assert len(jobs) == 1 or not any(each.exclusive for each in jobs)
        for each in jobs:
            assert not each.cancelled
            assert each.expires is None or each.expires > self.now
            self.leaves(each)
        for each in jobs:
            earlier = [other for other in self.queue.values() if other.priority == each.priority]
            if self.shares:
                earlier = [other for other in earlier if other.client == each.client]
            assert all(other.seq > each.seq for other in earlier), "in order within a priority"

    def leaves(self, gone: Job) -> None:
        assert gone.seq not in self.ended, "nobody is answered twice"
        self.ended.add(gone.seq)
        del self.queue[gone.seq]

    @invariant()
    def nobody_is_lost(self) -> None:
        assert len(self.ended) + len(self.queue) == self.offered
        assert self.batcher.queued == len(self.queue)
        assert self.batcher.free == sum(not batches for batches in self.runners.values())

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        self.collect()
        if self.queue and self.batcher.free:
            wakeup = self.batcher.wakeup()
            assert wakeup is not None
            oldest = min(each.arrived for each in self.queue.values())
            assert self.now < wakeup <= oldest + self.policy.max_batch_delay


class Padded(Adaptive):
    padded_sizes = (1, 3, 8)


class Shares(Adaptive):
    """The same with clients that take turns, some by weights of their own: all of it holds, order within a client."""

    shares = SharePolicy({"a": 0.5}, others=2.0)


TestAdaptive = Adaptive.TestCase
TestPadded = Padded.TestCase
TestShares = Shares.TestCase
TestAdaptive.settings = TestPadded.settings = examples(3, steps=50)
TestShares.settings = examples(2, steps=50)
