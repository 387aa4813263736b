"""Tables of what happened and what must follow."""

from __future__ import annotations

from typing import Any

import pytest

from torchserve.scheduler.batcher import Batcher, Effect, Expire, Refuse, Run
from torchserve.scheduler.errors import QueueClosed, QueueFull, WouldBeLate
from torchserve.scheduler.job import Batch, Job
from torchserve.scheduler.policy import BatchPolicy

from .doubles import Nobody, job


class Script:
    """Plays one line of a table: `2 offer a`, `2 offer a until 3`, `2 offer a by 3`, `2 offer a level 1`,
    `2 collect r:ab full`; `r>ab full` is handed over ahead. `0 learn 1=0.5` says what batches of 1 take.
    """

    def __init__(self, policy: BatchPolicy) -> None:
        self.batcher = Batcher(policy)
        self.jobs: dict[str, Job] = {}
        self.runners = {name: Nobody(name) for name in "rst"}
        self.running: dict[str, list[Batch]] = {}

    def play(self, line: str) -> None:
        when, verb, *rest = line.split()
        now = float(when)
        if verb in {"offer", "alone"}:
            said = dict(zip(rest[1::2], rest[2::2], strict=True))
            self.jobs[rest[0]] = new = job(
                rest[0],
                now,
                float(said["until"]) if "until" in said else None,
                exclusive=verb == "alone",
                deadline=float(said["by"]) if "by" in said else None,
                priority=int(said.get("level", 0)),
            )
            self.batcher.offer(new, now)
        elif verb == "late":
            bound = {"by": "deadline", "until": "expires"}[rest[1]]
            new = job(rest[0], now, **{bound: float(rest[2])})
            with pytest.raises(WouldBeLate) as caught:
                self.batcher.offer(new, now)
            assert (round(caught.value.needed, 6), round(caught.value.left, 6)) == (
                float(rest[4]),
                float(rest[2]) - now,
            )
        elif verb == "learn":
            for size, _, seconds in (each.partition("=") for each in rest):
                for _ in range(3):
                    self.batcher._runners.latency(self.runners["r"]).record(int(size), float(seconds))
        elif verb == "back":
            self.batcher.requeue(self.running[rest[0]].pop(), now)
        elif verb in {"body_started", "body_finished", "close"}:
            getattr(self.batcher, verb)(now)
        elif verb == "ready" and rest[0] in self.running:
            first, *behind = self.running.pop(rest[0])
            begins = self.batcher.ended(first, now, worked=False)
            assert begins is (behind[0] if behind else None)
            if begins is not None:
                assert all(each.started == now for each in begins.jobs)
                self.running[rest[0]] = behind
        elif verb in {"ready", "gone"}:
            getattr(self.batcher, verb)(self.runners[rest[0]], now)
        elif verb == "cancel":
            self.batcher.cancel(self.jobs[rest[0]], now)
        elif verb == "flush":
            assert [left.id for left in self.batcher.flush(now)] == rest
        else:
            assert verb == "collect"
            wanted, _, wakeup = " ".join(rest).partition(" then ")
            assert (", ".join(map(self.show, self.batcher.collect(now))) or "-") == wanted, line
            assert self.batcher.wakeup() == (float(wakeup) if wakeup else None), line

    def show(self, effect: Effect) -> str:
        if isinstance(effect, Expire):
            return f"{effect.job.id} expired"
        if isinstance(effect, Refuse):
            assert effect.error.needed >= effect.error.left
            return f"{effect.job.id} refused"
        batch = effect.batch
        assert isinstance(effect, Run)
        assert isinstance(effect.runner, Nobody)
        self.running.setdefault(effect.runner.name, []).append(batch)
        assert batch.runner is effect.runner
        assert all(each.batch is batch for each in batch.jobs)
        assert all(each.started == (None if effect.prefetched else batch.formed) for each in batch.jobs)
        return f"{effect.runner.name}{'>' if effect.prefetched else ':'}{''.join(each.id for each in batch.jobs)} {batch.reason.value}"


EAGER = {"batch_size": 4, "max_batch_delay": 1.0, "queue_size": 6, "rule": "eager"}
FIXED = {**EAGER, "rule": "fixed"}
QUICK = {**EAGER, "max_batch_delay": 0.1, "queue_size": 20, "rule": "adaptive"}
TABLE: dict[str, tuple[dict[str, Any], str]] = {
    "a lone request never waits": (EAGER, "0 ready r; 5 offer a; 5 collect r:a free_worker"),
    "without a worker all wait": (EAGER, "0 offer a; 9 collect -"),
    "what is there goes together": (EAGER, "0 offer a; 1 offer b; 2 ready r; 2 collect r:ab free_worker"),
    "never more than a batch": (
        EAGER,
        "0 offer a; 0 offer b; 0 offer c; 0 offer d; 0 offer e; 0 ready r; 0 collect r:abcd full; 1 collect -;"
        "2 ready r; 2 collect r:e free_worker",
    ),
    "several workers, the longest idle first": (
        EAGER,
        "0 ready r; 1 ready s; 1 ready r; 2 offer a; 2 collect r:a free_worker; 3 ready r; 3 offer b;"
        "3 collect s:b free_worker; 4 offer c; 4 collect r:c free_worker",
    ),
    "each free_worker gets its own batch": (
        {**EAGER, "batch_size": 1},
        "0 ready r; 0 ready s; 0 offer a; 0 offer b; 0 offer c; 0 collect r:a full, s:b full; 1 ready s;"
        " 1 collect s:c full",
    ),
    "a worker that is gone gets nothing": (
        EAGER,
        "0 ready r; 0 ready s; 0 gone r; 0 gone t; 0 offer a; 0 collect s:a free_worker; 1 offer b; 1 collect -;"
        "2 ready r; 2 collect r:b free_worker",
    ),
    "a body on its way is waited for": (
        EAGER,
        "0 ready r; 5 body_started; 5 offer a; 5 collect - then 6; 5.5 offer b; 5.5 body_finished; 5.5 collect r:ab free_worker",
    ),
    "but not past the delay": (
        EAGER,
        "0 ready r; 5 offer a; 5 body_started; 5 collect - then 6; 5.9 body_started; 5.9 offer b; 5.9 collect - then 6;"
        "6 collect r:ab delay",
    ),
    "nor by a full batch": (
        {**EAGER, "batch_size": 2},
        "0 ready r; 0 body_started; 0 offer a; 0 collect - then 1; 0 offer b; 0 collect r:ab full",
    ),
    "a slow body holds nobody for good": (
        EAGER,
        "0 ready r; 0 body_started; 0.4 offer a; 0.4 collect - then 1; 1 collect r:a delay; 2 ready r; 3 offer b;"
        "3 collect r:b delay",
    ),
    "a slow body stays slow while others come and go": (
        EAGER,
        "0 ready r; 0 body_started; 5 body_started; 5 body_finished; 5 offer a; 5 collect r:a delay",
    ),
    "the README's example": (
        {**EAGER, "max_batch_delay": 0.1},
        "0 ready r; 0 offer A; 0 collect r:A free_worker; 0.01 offer B; 0.02 offer C; 0.03 offer D; 0.03 collect -;"
        "0.05 ready r; 0.05 collect r:BCD free_worker; 0.06 body_started; 0.07 offer F; 0.08 ready r;"
        "0.08 collect - then 0.16; 0.16 collect r:F delay; 0.17 ready r; 0.18 offer G; 0.18 collect r:G delay",
    ),
    "fixed waits for a full batch": (
        FIXED,
        "0 ready r; 5 offer a; 5 collect - then 6; 5.1 offer b; 5.2 offer c; 5.2 collect - then 6; 5.3 offer d;"
        "5.3 collect r:abcd full",
    ),
    "or for the oldest's delay": (
        FIXED,
        "0 ready r; 5 offer a; 5.9 offer b; 5.9 collect - then 6; 6 collect r:ab delay",
    ),
    "the delay counts from arrival": (FIXED, "0 offer a; 3 offer b; 3 collect -; 4 ready r; 4 collect r:ab delay"),
    "a cancelled job no longer is the oldest": (
        FIXED,
        "0 ready r; 5 offer a; 5.5 offer b; 5.5 collect - then 6; 5.6 cancel a; 6 collect - then 6.5;"
        " 6.5 collect r:b delay",
    ),
    "no delay is no wait": ({**FIXED, "max_batch_delay": 0}, "0 ready r; 5 offer a; 5 collect r:a delay"),
    "an alone job goes alone": (
        FIXED,
        "0 ready r; 0 ready s; 0 ready t; 1 offer a; 1 alone X; 1 offer b; 1 collect r:a alone, s:X alone then 2;"
        "2 collect t:b delay",
    ),
    "alone jobs keep their place": (
        EAGER,
        "0 offer a; 0 offer b; 0 alone X; 0 alone Y; 0 offer c; 0 ready r; 0 collect r:ab alone; 1 ready r;"
        "1 collect r:X alone; 2 ready r; 2 collect r:Y alone; 3 ready r; 3 collect r:c free_worker",
    ),
    "an alone job behind a full batch": (
        {**FIXED, "batch_size": 2},
        "0 offer a; 0 offer b; 0 alone X; 0 ready r; 0 collect r:ab full; 1 ready r; 1 collect r:X alone",
    ),
    "an alone job behind waits for no body": (
        EAGER,
        "0 ready r; 0 body_started; 0 offer a; 0 alone X; 0 collect r:a alone",
    ),
    "a cancelled alone job divides no batch": (
        EAGER,
        "0 offer a; 0 alone X; 0 offer b; 0 cancel X; 0 ready r; 0 collect r:ab free_worker",
    ),
    "an expired alone job divides no batch": (
        EAGER,
        "0 offer a; 0 alone X until 1; 0 offer b; 1 ready r; 1 collect r:ab free_worker, X expired",
    ),
    "batches before bad news": (EAGER, "0 offer a until 2; 1 offer b; 2 ready r; 2 collect r:b free_worker, a expired"),
    "the first in the queue may expire": (EAGER, "0 offer a until 2; 0 collect - then 2; 2 collect a expired"),
    "in the order of their deadlines": (
        EAGER,
        "0 offer a until 3; 0 offer b until 2; 0 offer c; 0 collect - then 2; 3 collect b expired, a expired",
    ),
    "a deadline before the delay": (
        FIXED,
        "0 ready r; 0 offer a until 0.5; 0 collect - then 0.5; 0.5 collect a expired; 0.6 offer b;"
        " 0.6 collect - then 1.6",
    ),
    "one that runs does not expire": (
        EAGER,
        "0 ready r; 0 offer a until 2; 0 collect r:a free_worker; 2 collect -",
    ),
    "one that is cancelled does not expire": (EAGER, "0 offer a until 2; 1 cancel a; 3 collect -"),
    "one that runs can't be taken back": (
        EAGER,
        "0 ready r; 0 offer a; 0 collect r:a free_worker; 1 cancel a; 1 ready r; 1 collect -",
    ),
    "flush empties": (
        FIXED,
        "0 ready r; 0 offer a until 0.5; 0 alone X; 0 flush a X; 0.6 collect -; 1 offer b; 1 offer c;"
        " 1 collect - then 2",
    ),
    "adaptive: a lone request never waits": (QUICK, "0 ready r; 5 offer a; 5 collect r:a free_worker"),
    "adaptive: a body is waited for as long as sharing a batch saves": (
        QUICK,
        "0 learn 1=0.010 4=0.016; 0 ready r; 5 body_started; 5 offer a; 5 collect - then 5.008; 5.008 collect r:a delay",
    ),
    "adaptive: and not at all where it saves nothing": (
        QUICK,
        "0 learn 1=0.010 4=0.040; 0 ready r; 5 body_started; 5 offer a; 5 collect r:a full",
    ),
    "adaptive: the size that pays": (
        QUICK,
        "0 learn 1=0.014 2=0.016 4=0.065; 0 offer a; 0 offer b; 0 offer c; 0 offer d; 0 offer e; 0 ready r;"
        "0 collect r:ab full, r>cd full; 1 ready r; 1 collect -; 2 ready r; 2 collect r:e free_worker",
    ),
    "adaptive: what can't get better goes ahead, to one who is done first": (
        QUICK,
        "0 learn 1=0.010 4=0.016; 0 ready r; 0 ready s; 0 offer a; 0 collect r:a free_worker; 0.001 offer b;"
        "0.001 collect s:b free_worker; 0.002 offer c; 0.002 offer d; 0.002 offer e; 0.002 collect -; 0.002 offer f;"
        "0.002 collect r>cdef full; 0.003 offer g; 0.003 offer h; 0.003 offer i; 0.003 offer j; 0.003 collect s>ghij full;"
        "0.004 offer k; 0.004 offer l; 0.01 ready r; 0.01 collect -; 0.011 ready s; 0.011 collect -; 0.03 ready r;"
        "0.03 collect r:kl free_worker",
    ),
    "adaptive: nothing goes ahead of a long batch": (
        QUICK,
        "0 learn 1=0.1 4=0.16; 0 ready r; 0 offer a; 0 collect r:a free_worker; 0 offer b; 0 offer c; 0 offer d;"
        "0 offer e; 0 collect -; 0.1 ready r; 0.1 collect r:bcde full",
    ),
    "adaptive: nor behind one that is overdue, or about to leave": (
        {**QUICK, "batch_size": 1},
        "0 learn 1=0.01; 0 ready r; 0 ready s; 0 offer a; 0 offer b; 0 collect r:a full, s:b full; 0.1 offer c;"
        "0.1 collect -; 0.1 gone s; 0.1 collect -; 0.1 ready s; 0.1 collect -; 0.2 ready r; 0.2 collect r:c full",
    ),
    "adaptive: what went ahead in vain comes first again": (
        {**QUICK, "batch_size": 2},
        "0 learn 1=0.01 2=0.011; 0 ready r; 0 offer a; 0 collect r:a free_worker; 0 offer b; 0 offer c; 0 offer d;"
        "0 collect r>bc full; 0 cancel c; 0 back r; 0 gone r; 0 ready s; 0 collect s:bd full",
    ),
    "adaptive: alone jobs never go ahead": (
        {**QUICK, "batch_size": 1},
        "0 learn 1=0.01; 0 ready r; 0 offer a; 0 collect r:a full; 0 alone X; 0 collect -; 0.01 ready r;"
        "0.01 collect r:X alone",
    ),
    "priorities: the lower first, and within one in order": (
        EAGER,
        "0 offer a; 0 offer b level 1; 0 offer c level -1; 0 offer d; 0 offer e level -1; 0 ready r;"
        "0 collect r:cead full; 1 ready r; 1 collect r:b free_worker",
    ),
    "priorities: a level is a second, so that nobody starves": (
        {**EAGER, "batch_size": 1},
        "0 offer a level 1; 0.9 offer b; 1.1 offer c; 1.1 ready r; 1.1 collect r:b full; 2 ready r; 2 collect r:a full;"
        "3 ready r; 3 collect r:c full",
    ),
    "priorities: a level may go, expire, or be emptied": (
        EAGER,
        "0 offer a level 2; 0 offer b level 1 until 1; 0 offer c; 0 cancel a; 1 collect b expired; 1 offer d level 3;"
        "1 flush c d; 1 collect -",
    ),
    "deadlines: nothing is known, nobody refused": (QUICK, "0 ready r; 0 offer a by 0.001; 0 collect r:a free_worker"),
    "deadlines: without a worker nobody is refused either": (
        QUICK,
        "0 learn 1=0.01; 0 offer a by 0.001; 0 collect -; 1 ready r; 1 collect a refused",
    ),
    "deadlines: refused at once with what it would take": (
        {**QUICK, "batch_size": 1},
        "0 learn 1=0.01; 0 ready r; 0 offer a; 0 collect r:a full; 0 late b by 0.019 needs 0.02; 0 offer b by 0.0201;"
        "0 collect r>b full; 0 offer c; 0 late d by 0.039 needs 0.04; 0 offer d by 0.041",
    ),
    "deadlines: other workers count": (
        {**QUICK, "batch_size": 1},
        "0 learn 1=0.1; 0 ready r; 0 ready s; 0 offer a; 0 offer b; 0 collect r:a full, s:b full; 0 offer c; 0 offer d;"
        "0 late e by 0.19 needs 0.3; 0 late f by 0.29 needs 0.3; 0 offer g by 0.31",
    ),
    "deadlines: a batch grows only as far as the first one allows": (
        QUICK,
        "0 learn 1=0.010 2=0.012 4=0.016; 0 offer a by 0.013; 0 offer b; 0 offer c; 0 offer d; 0 ready r;"
        "0 collect r:ab deadline; 0.012 ready r; 0.012 collect r:cd free_worker",
    ),
    "deadlines: one job less costs next to nothing": (
        QUICK,
        "0 learn 1=0.0115 3=0.0315 4=0.040; 0 offer a by 0.035; 0 offer b by 0.05; 0 offer c; 0 offer d; 0 ready r;"
        "0 collect r:abc deadline",
    ),
    "deadlines: who is about to leave does not count": (
        {**QUICK, "batch_size": 1},
        "0 learn 1=0.1; 0 ready r; 0 ready s; 0 offer a; 0 offer b; 0 collect r:a full, s:b full; 0 offer c; 0 gone s;"
        "0 late d by 0.25 needs 0.3; 0 offer e by 0.31",
    ),
    "deadlines: one that is in the way of many is refused": (
        QUICK,
        "0 learn 1=0.010 2=0.012 4=0.016; 0 offer a by 0.011; 0 offer b by 0.017; 0 offer c by 0.017; 0 offer d by 0.017;"
        "0 ready r; 0 collect r:bcd free_worker, a refused",
    ),
    "deadlines: and after one refusal the next one in the way is, too": (
        QUICK,
        "0 learn 1=0.010 2=0.012 4=0.016; 0 offer a by 0.011; 0 offer b by 0.0125; 0 offer c by 0.017; 0 offer d by 0.017;"
        "0 ready r; 0 collect r:cd free_worker, a refused, b refused",
    ),
    "deadlines: one that can't make it by itself is refused": (
        QUICK,
        "0 learn 1=0.010 2=0.012; 0 offer a by 0.008; 0 offer b; 0 ready r; 0 collect r:b free_worker, a refused",
    ),
    "deadlines: what would begin too late is refused as well": (
        {**QUICK, "batch_size": 1},
        "0 learn 1=0.01; 0 ready r; 0 offer a; 0 collect r:a full; 0 offer b until 0.011; 0 collect r>b full;"
        "0.011 collect -",
    ),
    "deadlines: what could not begin in time is refused when it comes": (
        {**QUICK, "batch_size": 1},
        "0 learn 1=0.01; 0 ready r; 0 offer a; 0 collect r:a full; 0 offer b; 0 late c until 0.015 needs 0.02",
    ),
    "closing keeps what is queued": (EAGER, "0 offer a; 1 close; 2 ready r; 2 collect r:a free_worker"),
}


@pytest.mark.parametrize("name", TABLE)
def test_table(name: str):
    policy, lines = TABLE[name]
    script = Script(BatchPolicy(**policy))
    for line in lines.split(";"):
        script.play(line)


def test_the_bound_is_exact_and_cancelling_makes_room():
    batcher = Batcher(BatchPolicy(queue_size=2))
    first, second = job("a", 0.0), job("b", 0.0)
    batcher.offer(first, 0.0)
    batcher.offer(second, 0.0)
    with pytest.raises(QueueFull, match="2 jobs"):
        batcher.offer(job("c", 0.0), 0.0)
    batcher.cancel(first, 0.0)
    batcher.offer(job("d", 0.0), 0.0)
    with pytest.raises(QueueFull):
        batcher.offer(job("e", 0.0), 0.0)
    batcher.ready(Nobody(), 0.0)
    assert len(batcher.collect(0.0)) == 1  # what runs doesn't count
    batcher.offer(job("f", 0.0), 0.0)
    assert batcher.queued == 2


def test_a_closed_batcher_refuses():
    batcher = Batcher(BatchPolicy())
    batcher.close(0.0)
    with pytest.raises(QueueClosed):
        batcher.offer(job("a", 0.0), 0.0)


def test_a_job_of_another_queue_is_only_marked():
    ours, theirs = Batcher(BatchPolicy()), Batcher(BatchPolicy())
    mine, other = job("a", 0.0), job("b", 0.0)
    ours.offer(mine, 0.0)
    theirs.offer(other, 0.0)
    ours.cancel(other, 0.0)
    assert (ours.queued, other.cancelled, mine.cancelled) == (1, True, False)


def test_announcements_are_counted():
    batcher = Batcher(BatchPolicy())
    batcher.body_started(0.0)
    batcher.body_started(1.0)
    assert batcher.bodies_arriving == 2
    batcher.body_finished(2.0)
    batcher.body_finished(2.0)
    with pytest.raises(ValueError, match="body_finished without body_started"):
        batcher.body_finished(2.0)


def test_deadlines_of_jobs_that_left_do_not_pile_up():
    batcher = Batcher(BatchPolicy())
    batcher.offer(job("stays", 0.0, expires=1.0), 0.0)
    for number in range(1000):
        batcher.offer(continuing := job("goes", 0.0, expires=1e6 + number), 0.0)
        batcher.cancel(continuing, 0.0)
        assert batcher.collect(0.0) == []
    assert len(batcher._queue.expiries) < 100
    assert batcher.wakeup() == 1.0
    batcher.offer(job("too", 0.0, expires=0.5), 0.0)
    assert [effect.job.id for effect in batcher.collect(1.0) if isinstance(effect, Expire)] == ["too", "stays"]
