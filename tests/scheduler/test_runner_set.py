"""RunnerSet: whatever runners do, it knows whether one of them could have a batch behind the one that it runs, and when
those that come now begin.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from torchserve.scheduler.job import Batch, ReleaseReason
from torchserve.scheduler.runner_set import RunnerSet

from .doubles import Nobody, job

SECONDS = (0.001, 0.004, 0.01)

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["join", "join once", "leave", "assign", "release", "release behind"]), st.integers(0, 2)
    ),
    max_size=40,
)


@given(STEPS)
def test_it_knows_who_has_room_behind(steps: list[tuple[str, int]]) -> None:
    runners = [Nobody() for _ in range(3)]
    batches: list[list[Batch]] = [[], [], []]
    known = RunnerSet(4)
    for step, which in steps:
        runner, held = runners[which], batches[which]
        if step == "join" or (step == "join once" and not held):
            known.join(runner, 0.0, once=step == "join once")
        elif step == "leave":
            known.leave(runner)
        elif step == "assign" and (runner in known.free or known.next_to_finish(0.0) is runner):
            batch = Batch(1, (job("", 0.0),), ReleaseReason.FULL, 0.0, runner)
            known.assign(batch, 0.0)
            held.append(batch)
        elif step.startswith("release") and held:
            known.release(held.pop(-1 if "behind" in step else 0), 0.0)
        assert (known.next_to_finish(0.0) is not None) == (known.with_room_behind > 0)  # none is overdue at 0 s
        accepting = set(known.accepting_runners())
        assert known.with_room_behind == sum(
            len(held) == 1 and runner in accepting for runner, held in zip(runners, batches, strict=True)
        )


@given(STEPS, st.lists(st.tuples(st.integers(1, 4), st.sampled_from(SECONDS)), min_size=1, max_size=8))
def test_when_the_next_batch_begins_is_kept_until_a_batch_or_a_runner_comes_or_goes(
    steps: list[tuple[str, int]], runs: list[tuple[int, float]]
) -> None:
    runners = [Nobody() for _ in range(3)]
    batches: list[list[Batch]] = [[], [], []]
    known = RunnerSet(4)
    for number, (step, which) in enumerate(steps):
        now, runner, held = number / 256, runners[which], batches[which]
        before = known.forecast(now)
        assert known.forecast(now + 0.003) is before
        if step == "join":
            known.join(runner, now)
        elif step == "leave":
            known.leave(runner)
        elif step == "assign" and (runner in known.free or known.next_to_finish(now) is runner):
            batch = Batch(1, (job("", now),) * (1 + number % 4), ReleaseReason.FULL, now, runner)
            known.assign(batch, now)
            held.append(batch)
        elif step.startswith("release") and held:
            known.release(held.pop(-1 if "behind" in step else 0), now)
        elif step == "join once":
            known.record(runner, *runs[number % len(runs)])
        found, accepting = known.forecast(now), list(known.accepting_runners())
        latency = known.latency(runner)
        assert (found is None) == (not accepting or not latency.known)
        if found is not None:
            size = latency.best_size
            assert max(now, found.free_at) + found.behind == min(known.free_at(each, now) for each in accepting)
            assert found[2:] == (size, latency.median(size) / len(accepting), latency.p90(size), latency)


def test_what_was_learnt_and_forgotten_changes_when_the_next_batch_begins() -> None:
    known, runner = RunnerSet(1), Nobody()
    known.join(runner, 0.0)
    assert known.forecast(0.0) is None
    for seconds in (0.01, 0.01):
        known.record(runner, 1, seconds)
    batch = Batch(1, (job("", 0.0),), ReleaseReason.FULL, 0.0, runner)
    known.assign(batch, 0.0)
    found = known.forecast(0.0)
    assert found is not None
    assert (found.free_at, found.interval) == (0.01, 0.01)
    for _ in range(15):
        known.record(runner, 1, 0.03)
    slower = known.forecast(0.0)
    assert slower is not None
    assert (slower.free_at, slower.interval) == (0.03, 0.03)
    known.release(batch, 0.02)
    free = known.forecast(0.02)
    assert free is not None
    assert free.free_at < 0.02
    known.leave(runner)
    assert known.forecast(0.02) is None
    known.join(runner, 0.02)
    known.forget_latency(runner)
    assert known.forecast(0.0) is None
