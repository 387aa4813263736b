"""RunnerSet: whatever runners do, it knows whether one of them could have a batch behind the one that it runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from torchserve.scheduler.job import Batch, ReleaseReason
from torchserve.scheduler.runner_set import RunnerSet

from .doubles import Nobody, job

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
