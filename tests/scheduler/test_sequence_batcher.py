"""Continuous and stateful batching: slots, steps, sequences and their ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from torchserve.scheduler import sequence_batcher
from torchserve.scheduler.batcher import Expire, Run
from torchserve.scheduler.errors import QueueClosed, QueueFull, SequenceEnded, TooManySequences
from torchserve.scheduler.job import Batch, Continue, Job
from torchserve.scheduler.model_scheduler import ModelScheduler
from torchserve.scheduler.policy import BatchPolicy, SequencePolicy
from torchserve.scheduler.sequence_batcher import SequenceBatcher

from .doubles import Client, Nobody, Worker, job, turn
from .drawn import examples


class Script:
    """`0 offer a`, `0 offer a A` (of sequence A), `0 last a A`, `1 r ends b` (r's batch ended, b goes on), `0 collect …`."""

    def __init__(self, policy: BatchPolicy) -> None:
        self.batcher = SequenceBatcher(policy)
        self.jobs: dict[str, Job] = {}
        self.runners = {name: Nobody(name) for name in "rst"}
        self.running: dict[str, Batch] = {}

    def play(self, line: str) -> None:
        when, verb, *rest = line.split()
        now = float(when)
        if verb in {"offer", "last", "alone", "soon"}:
            new = job(
                rest[0], now, now + 1.0 if verb == "soon" else None, exclusive=verb == "alone",
                sequence="".join(rest[1:]), ends=verb == "last",
            )  # fmt: skip
            self.jobs[rest[0]] = new
            self.batcher.offer(new, now)
        elif verb in {"full", "many"}:
            with pytest.raises(TooManySequences if verb == "many" else QueueFull):
                self.batcher.offer(job(rest[0], now, sequence="".join(rest[1:])), now)
        elif verb == "ended":
            with pytest.raises(SequenceEnded, match=rest[1]):
                self.batcher.offer(job(rest[0], now, sequence=rest[1]), now)
        elif verb == "cancel":
            self.batcher.cancel(self.jobs[rest[0]], now)
        elif verb == "flush":
            assert [left.id for left in self.batcher.flush(now)] == rest
        elif verb in {"ready", "gone"}:
            getattr(self.batcher, verb)(self.runners[rest[0]], now)
        elif verb in self.runners:
            assert rest.pop(0) == "ends"
            self.batcher.ended(self.running.pop(verb), now, continuing=[self.jobs[name] for name in rest])
        else:
            assert verb == "collect"
            wanted, _, wakeup = " ".join(rest).partition(" then ")
            assert (", ".join(map(self.show, self.batcher.collect(now))) or "-") == wanted, line
            assert self.batcher.wakeup() == (float(wakeup) if wakeup else None), line

    def show(self, effect: Any) -> str:
        if isinstance(effect, Expire):
            return f"{effect.job.id} expired"
        assert isinstance(effect, Run)
        assert isinstance(effect.runner, Nobody)
        self.running[effect.runner.name] = effect.batch
        ids = "".join(f"({each.id})" if each.resumed else each.id for each in effect.batch.jobs)
        return f"{effect.runner.name}:{ids}"


STEPS = {"batch_size": 3, "queue_size": 4, "continuous": True}
STATE = {"batch_size": 3, "sequences": SequencePolicy(most=2, queue_size=2, idle=1.0)}
LIFE = {"batch_size": 2, "sequences": SequencePolicy(most=2, queue_size=2, idle=1.0, life=3.0)}
TABLE: dict[str, tuple[dict[str, Any], str]] = {
    "a request stays for its steps, and others join and leave": (
        STEPS,
        "0 ready r; 0 offer a; 0 collect r:a; 0 offer b; 0 offer c; 0 collect -; 1 r ends a; 1 collect r:(a)bc;"
        "2 offer d; 2 r ends a c; 2 collect r:(a)(c)d; 3 r ends c; 3 collect r:(c); 4 r ends; 4 collect -",
    ),
    "no more than there are slots": (
        STEPS,
        "0 ready r; 0 offer a; 0 offer b; 0 offer c; 0 offer d; 0 collect r:abc; 1 r ends a b c;"
        "1 collect r:(a)(b)(c); 2 r ends a c; 2 collect r:(a)(c)d",
    ),
    "the queue is bounded, and what has a slot isn't in it": (
        STEPS,
        "0 offer a; 0 offer b; 0 offer c; 0 offer d; 0 full e; 0 ready r; 0 collect r:abc; 0 offer e; 0 offer f;"
        "0 offer g; 0 full h; 0 cancel e; 0 offer i; 1 r ends; 1 collect r:dfg",
    ),
    "new requests go where there is most room": (
        STEPS,
        "0 ready r; 0 ready s; 0 offer a; 0 offer b; 0 collect r:a, s:b; 0 offer c; 1 r ends a; 1 collect r:(a)c;"
        "1 offer d; 1 s ends b; 1 collect s:(b)d",
    ),
    "a client that has gone has its last step behind it": (
        STEPS,
        "0 ready r; 0 offer a; 0 offer b; 0 collect r:ab; 0 cancel a; 1 r ends a b; 1 collect r:(b); 1 cancel b;"
        "2 r ends b; 2 collect -",
    ),
    "one that leaves between two steps": (
        STEPS, "0 ready r; 0 offer a; 0 collect r:a; 1 r ends a; 1 cancel a; 1 collect -; 1 offer b; 1 collect r:b",
    ),
    "an alone job runs between two steps of the others": (
        STEPS,
        "0 ready r; 0 offer a; 0 collect r:a; 0 alone X; 1 r ends a; 1 collect r:X; 2 r ends; 2 collect r:(a)",
    ),
    "a worker that dies takes its requests along, and no others": (
        STEPS,
        "0 ready r; 0 offer a; 0 collect r:a; 0 offer b; 1 gone r; 1 r ends a; 1 collect -; 1 ready s; 1 collect s:b",
    ),
    "jobs expire while they wait for a slot": (
        {**STEPS, "batch_size": 1},
        "0 ready r; 0 offer a; 0 collect r:a; 0 soon b; 0 collect - then 1; 1 collect b expired; 1 r ends; 1 collect -",
    ),
    "one of each sequence a batch, in order": (
        STATE,
        "0 ready r; 0 offer a A; 0 offer b A; 0 offer c B; 0 collect r:ac; 0.5 r ends; 0.5 collect r:b then 1.5;"
        "0.6 r ends; 0.6 collect - then 1.5",
    ),
    "a sequence keeps its worker": (
        {**STATE, "batch_size": 1},
        "0 ready r; 0 ready s; 0 offer a A; 0 offer b B; 0 collect r:a, s:b; 0 offer c A; 0.1 s ends;"
        "0.1 collect - then 1.1; 0.2 r ends; 0.2 collect r:c then 1.1",
    ),
    "sequences and what waits in each are bounded": (
        STATE,
        "0 offer a A; 0 offer b A; 0 full c A; 0 offer d B; 0 many e C; 0 cancel d; 0 collect - then 1; 1 offer e C",
    ),
    "an idle sequence gives up its slot, and its name is free": (
        STATE,
        "0 ready r; 0 offer a A; 0 offer b B; 0 collect r:ab; 0.5 r ends; 0.5 many c C; 0.5 collect - then 1.5;"
        "1.2 offer d A; 1.2 collect r:d then 1.5; 1.5 offer c C; 1.5 collect -; 1.6 r ends; 1.6 collect r:c then 2.6",
    ),
    "the end ends it; what is behind begins the next": (
        STATE,
        "0 ready r; 0 last a A; 0 offer b A; 0 collect r:a; 0.1 r ends; 0.1 collect r:b; 0.2 last c A; 0.3 r ends;"
        "0.3 collect r:c; 0.4 r ends; 0.4 collect -",
    ),
    "sequences without a worker go on with the next": (
        STATE,
        "0 ready r; 0 offer a A; 0 collect r:a; 0 offer b A; 0.1 gone r; 0.1 r ends; 0.1 collect -; 0.2 ready s;"
        "0.2 collect s:b; 0.3 gone s; 0.3 s ends; 0.3 collect - then 1.3",
    ),
    "a life has an end, too": (
        LIFE,
        "0 ready r; 0 offer a A; 0 collect r:a; 1 r ends; 1 offer b A; 1 collect r:b; 2.5 offer c A; 2.9 r ends;"
        "2.9 collect r:c; 3.5 r ends; 3.5 collect -",
    ),
    "with steps, one that comes later need not wait for one that goes on": (
        {**STATE, "continuous": True},
        "0 ready r; 0 offer a A; 0 collect r:a; 0 offer b A; 1 r ends a; 1 collect r:(a)b; 2 last c A; 2 r ends a;"
        "2 collect r:(a)c; 3 r ends a; 3 collect r:(a); 4 r ends; 4 collect -; 4 ended d A; 4 offer e B",
    ),
    "with steps, a sequence that has ended has ended": (
        {**STATE, "continuous": True},
        "0 ready r; 0 offer a A; 0 collect r:a; 0 r ends; 0 collect - then 1; 1 collect -; 1 ended b A",
    ),
    "a client that leaves in the midst of its steps leaves its sequence": (
        {**STATE, "continuous": True},
        "0 ready r; 0 offer a A; 0 collect r:a; 0 offer b A; 1 r ends a; 1 cancel a; 1 collect r:b",
    ),
    "steps of sequences": (
        {**STATE, "continuous": True},
        "0 ready r; 0 offer a A; 0 offer b B; 0 collect r:ab; 1 r ends a; 1 collect r:(a) then 2; 1.5 r ends;"
        "1.5 offer c A; 1.5 collect r:c then 2",
    ),
    "flush empties the queues, and what goes on does": (
        STATE, "0 ready r; 0 offer a A; 0 collect r:a; 0 offer b A; 0 offer c B; 0 flush b c; 0.1 r ends a; 0.1 collect r:(a)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_table(name: str):
    policy, lines = TABLE[name]
    script = Script(BatchPolicy(**policy))
    for line in lines.split(";"):
        script.play(line)


def test_the_names_of_sequences_that_ended_do_not_pile_up(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sequence_batcher, "REMEMBERED", 2)
    script = Script(BatchPolicy(**STATE, continuous=True))
    for line in ("0 ready r", "0 last a A", "0 last b B", "0 collect r:ab", "1 r ends", "1 collect -", "1 ended x A"):
        script.play(line)
    for line in (
        "1 last c C",
        "1 collect r:c",
        "2 r ends",
        "2 collect -",
        "2 ended x B",
        "2 offer d A",
        "2 collect r:d",
    ):
        script.play(line)


def test_a_closed_one_refuses_and_announcements_are_counted():
    batcher = SequenceBatcher(BatchPolicy(continuous=True))
    batcher.body_started(0.0)
    assert (batcher.bodies_arriving, batcher.free, batcher.seconds_per_job) == (1, 0, 0.0)
    batcher.gone(Nobody(), 0.0)  # it never came
    batcher.ready(runner := Nobody(), 0.0)
    assert batcher.free == 1
    batcher.gone(runner, 0.0)
    assert batcher.free == 0
    batcher.body_finished(0.0)
    with pytest.raises(ValueError, match="body_finished without body_started"):
        batcher.body_finished(0.0)
    batcher.close(0.0)
    with pytest.raises(QueueClosed):
        batcher.offer(job("a", 0.0), 0.0)
    with pytest.raises(AssertionError):
        batcher.requeue(Batch(1, (), None, 0.0, Nobody()), 0.0)  # type: ignore[arg-type]


def test_a_lane_sends_each_step_as_a_chunk(run: Callable[[Awaitable[None]], None]):
    async def main() -> None:
        scheduler = ModelScheduler(BatchPolicy(batch_size=2, continuous=True))
        worker, client = Worker(), Client(scheduler)
        scheduler.attach(worker)
        client.send("ab")
        await turn()
        scheduler.finish(worker.batches[0], [Continue(1), 2])
        assert worker.ids == ["ab", "a"]
        assert client.jobs["a"].resumed
        scheduler.finish(worker.batches[1], [Continue(3)])
        scheduler.fail(worker.batches[2], error := RuntimeError("died"))
        assert client.heard("a") == [("chunk", 1), ("chunk", 3), ("fail", error)]
        assert client.heard("b") == [("done", 2)]
        assert (scheduler.queued, scheduler.running, scheduler.runners) == (0, 0, 0)
        await asyncio.wait_for(scheduler.idle(), 1)

    run(main())


class Slots(RuleBasedStateMachine):
    """Whatever happens: nobody lost, nobody twice, order within a sequence, one worker for each while it lives."""

    policy = BatchPolicy(batch_size=2, queue_size=6, continuous=True)

    def __init__(self) -> None:
        super().__init__()
        self.batcher = SequenceBatcher(self.policy)
        self.now = 0.0
        self.offered: list[Job] = []
        self.over: set[int] = set()
        self.runners: dict[Nobody, Batch | None] = {}

    @rule(name=st.sampled_from("ABC"), ends=st.booleans(), lasts=st.sampled_from([None, None, 0.5]))
    def offer(self, name: str, ends: bool, lasts: float | None) -> None:
        new = job(
            str(len(self.offered)), self.now, None if lasts is None else self.now + lasts, sequence=name, ends=ends
        )
        try:
            self.batcher.offer(new, self.now)
        except (QueueFull, SequenceEnded):
            return
        self.offered.append(new)
        self.collect()

    @precondition(lambda self: len(self.runners) < 3)
    @rule()
    def joins(self) -> None:
        runner = Nobody()
        self.runners[runner] = None
        self.batcher.ready(runner, self.now)
        self.collect()

    @precondition(lambda self: any(self.runners.values()))
    @rule(which=st.integers(0, 9), go=st.integers(0, 3), dies=st.booleans())
    def ended(self, which: int, go: int, dies: bool) -> None:
        busy = [runner for runner, batch in self.runners.items() if batch]
        runner = busy[which % len(busy)]
        batch = self.runners[runner]
        assert batch is not None
        continuing = [] if dies else [each for at, each in enumerate(batch.jobs) if go >> at & 1]
        if dies:
            del self.runners[runner]
            self.batcher.gone(runner, self.now)
        else:
            self.runners[runner] = None
        self.batcher.ended(batch, self.now, continuing=continuing)
        for each in batch.jobs:
            if each not in continuing or each.cancelled:
                self.leaves(each)
        self.collect()

    @precondition(lambda self: self.offered)
    @rule(which=st.integers(0, 99))
    def cancel(self, which: int) -> None:
        victim = self.offered[which % len(self.offered)]
        if victim.cancelled or victim.seq in self.over:
            return
        self.batcher.cancel(victim, self.now)
        running = any(victim in batch.jobs for batch in self.runners.values() if batch)
        if not running:
            self.leaves(victim)
        self.collect()

    @rule(seconds=st.sampled_from([0.1, 0.6, 5.0]))
    def passes(self, seconds: float) -> None:
        self.now += seconds
        self.collect()

    def collect(self) -> None:
        effects = self.batcher.collect(self.now)
        for effect in effects:
            if isinstance(effect, Run):
                assert isinstance(effect.runner, Nobody)
                assert self.runners[effect.runner] is None
                self.runners[effect.runner] = effect.batch
                assert len(effect.batch.jobs) >= 1
                assert self.policy.sequences or len(effect.batch.jobs) <= 2
                assert not any(each.cancelled or each.seq in self.over for each in effect.batch.jobs)
            else:
                assert isinstance(effect, Expire)
                self.leaves(effect.job)
        assert not self.batcher.collect(self.now)

    def leaves(self, gone: Job) -> None:
        assert gone.seq not in self.over
        self.over.add(gone.seq)

    @invariant()
    def nobody_is_lost(self) -> None:
        running = [each for batch in self.runners.values() if batch for each in batch.jobs]
        assert len(running) == len(set(map(id, running)))
        if any(batch is None for batch in self.runners.values()) and not self.policy.sequences:
            assert self.batcher.queued == 0 or all(len(b.jobs) == 2 for b in self.runners.values() if b)
        assert len(self.over) + self.batcher.queued + len(running) == len(self.offered)
        if self.policy.sequences:
            for name in "ABC":
                workers = [b.runner for b in self.runners.values() if b for each in b.jobs if each.sequence == name]
                assert len(set(map(id, workers))) <= 1, "one worker for a sequence"


class Stateful(Slots):
    policy = BatchPolicy(
        batch_size=2, continuous=True, sequences=SequencePolicy(most=2, queue_size=2, idle=0.5, life=4.0)
    )


TestSlots = Slots.TestCase
TestStateful = Stateful.TestCase
TestSlots.settings = TestStateful.settings = examples(2, steps=40)
