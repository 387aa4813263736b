"""What batches are believed to cost, and the sizes that follow from it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.scheduler.latency_model import (
    EXPLORATION_SHARE,
    MAX_GROWTH,
    MIN_RUNS,
    STALE_AFTER,
    WINDOW,
    LatencyModel,
)

EFFNET = {1: 14.0, 2: 23.0, 4: 45.0, 8: 168.0}  # ms, EfficientNet-Lite0 on two cores
GPU = {size: 4 + 0.6 * size for size in range(1, 33)}


def learnt(
    curve: Mapping[int, float], largest: int | None = None, times: int = 3, padded: tuple[int, ...] = ()
) -> LatencyModel:
    latency = LatencyModel(largest or max(curve), padded)
    for size in sorted(curve):
        for _ in range(times):
            latency.record(size, curve[size] / 1e3)
    return latency


def test_what_was_measured_is_told_by_size() -> None:
    latency = learnt(EFFNET, times=WINDOW + 1)
    assert latency.measured() == [(size, WINDOW, ms / 1e3) for size, ms in sorted(EFFNET.items())]
    assert LatencyModel(8).measured() == []


def test_nothing_known():
    latency = LatencyModel(8)
    assert (latency.known, latency.median(3), latency.p90(3), latency.marginal_saving(1)) == (False, 0.0, 0.0, 0.0)
    assert (latency.best_size, latency.clearing_size(3), latency.next_size(5), latency.next_size(50)) == (8, 3, 5, 8)


@pytest.mark.parametrize(
    ("curve", "queued", "best"),
    [
        (EFFNET, 1, 1),
        (EFFNET, 2, 2),
        (EFFNET, 3, 3),  # 34 ms by what lies between; 2 and 1 take 37
        (EFFNET, 4, 4),
        (EFFNET, 8, 4),  # 90 ms in two; 168 in one
        (EFFNET, 99, 4),
        (GPU, 5, 5),
        (GPU, 32, 32),
        ({1: 5.0, 8: 40.0}, 8, 1),  # a batch gains nothing: the first answer shall not wait for the last
        ({1: 5.0, 8: 39.95}, 8, 1),  # nor next to nothing
        ({1: 5.0, 8: 30.0}, 8, 8),
        ({1: 10.0, 4: 10.0, 5: 20.0, 8: 20.0}, 5, 4),  # padded to 4 or 8: one over 4 is cheaper by itself
        ({1: 10.0, 4: 10.0, 5: 20.0, 8: 20.0}, 6, 4),  # 4 and 2 take no longer than 6, and 4 are answered sooner
        ({1: 10.0, 4: 10.0, 5: 16.0, 8: 16.0}, 6, 6),
    ],
)
def test_the_size_that_clears_the_queue_soonest(curve: Mapping[int, float], queued: int, best: int):
    assert learnt(curve).clearing_size(queued) == best


CHEAP = {1: 5.0, 2: 6.0, 4: 8.0, 8: 9.0}
DEAR = {1: 5.0, 2: 6.0, 4: 8.0, 8: 30.0}


@pytest.mark.parametrize(
    ("curve", "queued", "chosen", "cost"),
    [
        (CHEAP, 3, 3, 8.0),
        (CHEAP, 5, 5, 9.0),  # up: 4 and 1 take 13
        (CHEAP, 8, 8, 9.0),
        (CHEAP, 99, 8, 9.0),
        (DEAR, 3, 3, 8.0),
        (DEAR, 5, 4, 8.0),  # down: 4 and 1 take 13, the padded 8 takes 30
        (DEAR, 7, 4, 8.0),  # and the three that stay are padded to 4
        (DEAR, 99, 4, 8.0),
        ({1: 2.0, 2: 2.5, 4: 4.0, 8: 7.5}, 7, 7, 7.5),  # 4 and 3 would be 8
        ({1: 2.0, 2: 2.5, 4: 4.0, 8: 7.5}, 6, 4, 4.0),  # 4 and 2 are 6.5
        ({1: 1.0, 2: 2.0, 4: 6.0, 8: 6.5}, 7, 7, 6.5),  # in twos and one it is 7
        ({1: 1.0, 2: 1.8, 4: 6.0, 8: 6.5}, 7, 2, 1.8),  # 6.4; that the rest of 4 would be cheaper split counts
        ({1: 5.0}, 5, 4, 5.0 * (1 + 0.8 * 3)),  # unmeasured: by hope, and in steps
    ],
)  # fmt: skip
def test_padded_up_or_trimmed_down(curve: Mapping[int, float], queued: int, chosen: int, cost: float):
    latency = learnt(curve, 8, padded=(1, 2, 4, 8))
    assert latency.clearing_size(queued) == chosen
    assert latency.median(chosen) == pytest.approx(cost / 1e3)


@pytest.mark.parametrize("largest", [6, 8])
def test_a_batch_costs_what_its_padded_size_does(largest: int):
    latency = LatencyModel(largest, (2, 4, 8))
    for size, seconds in ((1, 0.01), (3, 0.015), (5, 0.02)):
        for _ in range(3):
            latency.record(size, seconds)
    assert [latency.median(size) for size in range(1, 9)] == [0.01] * 2 + [0.015] * 2 + [0.02] * 4
    assert [latency.marginal_saving(size) for size in (1, 3, 5)] == pytest.approx([0.01, 0.01, 0.01])
    assert (latency.clearing_size(99), latency.best_size) == (largest, largest)


def test_a_padded_size_is_tried_though_the_queue_never_fills_it():
    """It was dear when it was measured, and has become cheap: five at once are tried again, in the 8 that they take."""
    latency = learnt({1: 5.0, 2: 10.0, 4: 20.0, 8: 30.0}, 8, padded=(1, 2, 4, 8))
    assert latency.clearing_size(5) == 1
    for _ in range(2000):
        size = latency.next_size(5)
        latency.record(size, 0.009 if size == 5 else 0.005 * size)
    assert latency.clearing_size(5) == 5


def test_the_next_padded_size_is_never_out_of_reach():
    latency = learnt({1: 5.0}, 16, padded=(1, 16))
    assert latency.clearing_size(16) == 16


@pytest.mark.parametrize(
    ("size", "median"),
    [
        (1, 14.0),
        (2, 23.0),
        (3, 34.0),
        (6, 67.5),  # no dearer per job than 4, though 8 is
        (8, 168.0),
        (10, 168.0 * (1 + 0.8 * 2 / 8)),  # hope: less per job, until it has run
    ],
)
def test_between_and_beyond_what_ran(size: int, median: float):
    assert learnt(EFFNET, 16).median(size) == pytest.approx(median / 1e3)


def test_below_all_that_ran_a_job_is_taken_to_cost_more():
    assert learnt({4: 45.0}).median(1) == pytest.approx(0.045 * (1 - 0.8 * 3 / 4))


def test_one_slow_run_changes_nothing():
    latency = learnt({1: 10.0}, times=5)
    latency.record(1, 3.0)
    assert latency.median(1) == 0.01


def test_the_first_run_of_a_size_may_be_slow():
    """It compiles, or allocates: a size gets a second chance whatever the first one took."""
    latency = learnt({1: 10.0}, 4)
    latency.record(4, 5.0)
    assert latency.clearing_size(4) == 1
    chosen = []
    while not chosen or chosen[-1] != 4:
        chosen.append(latency.next_size(4))
        latency.record(chosen[-1], 0.012)
    assert len(chosen) <= 4
    assert (latency.clearing_size(4), latency.next_size(4)) == (4, 4)


def test_what_got_slower_is_noticed():
    latency = learnt({1: 10.0, 4: 12.0}, times=15)
    for _ in range(8):
        latency.record(4, 0.1)
    assert latency.clearing_size(4) == 1


def test_sizes_grow_in_steps():
    latency = learnt({1: 10.0}, 64)
    seen = [latency.next_size(64)]
    while seen[-1] < 64:
        latency.record(seen[-1], 0.010)
        seen.append(latency.next_size(64))
    assert all(after <= MAX_GROWTH * max(seen[: at + 1]) for at, after in enumerate(seen[1:]))
    assert len(seen) < 12


def test_upper_covers_most_runs():
    random.seed(1)
    latency = LatencyModel(1)
    below = 0
    for _ in range(3000):
        run = random.gauss(10.0, 1.0)
        below += run <= latency.p90(1)
        latency.record(1, run)
    assert 0.85 < below / 3000 < 0.95


@pytest.mark.parametrize(
    ("curve", "size", "saves"), [(GPU, 1, 4.0), (GPU, 31, 4.0), (EFFNET, 1, 5.0), (EFFNET, 4, 14 - 11.25)]
)
def test_what_sharing_a_batch_saves(curve: Mapping[int, float], size: int, saves: float):
    assert learnt(curve).marginal_saving(size) == pytest.approx(saves / 1e3)


def share_lost(curve: Callable[[int], float], largest: int, batches: int, seed: int) -> float:
    """Time that a full queue took, beyond what the best size throughout would have, as a share of that, once the
    first batches have shown the way.
    """
    random.seed(seed)
    latency = LatencyModel(largest)
    took, done = 0.0, 0
    for number in range(batches):
        size = latency.next_size(largest)
        seconds = curve(size) * random.uniform(0.9, 1.1)
        latency.record(size, seconds)
        if number >= 100:
            took, done = took + seconds, done + size
    return took / (done * min(curve(size) / size for size in range(1, largest + 1))) - 1.0


@pytest.mark.parametrize(
    "curve",
    [
        lambda size: 0.004 + 0.0006 * size,
        lambda size: 0.014 * size**1.5,
        lambda size: 0.01 * size,
        lambda size: 0.001 * (size + 2 * max(0, size - 6) ** 2),
    ],
)
def test_a_full_queue_is_worked_off_in_the_best_size_but_for_what_curiosity_costs(curve: Callable[[int], float]):
    """Noise of ten percent and the two percent that count as equal included."""
    assert share_lost(curve, 32, 3000, 7) < 0.05 + EXPLORATION_SHARE


def test_what_became_cheaper_is_found_again():
    latency = learnt({1: 10.0, 2: 20.0, 4: 400.0})
    sizes = []
    for _ in range(60_000):
        size = latency.next_size(4)
        sizes.append(size)
        latency.record(size, 0.01 * size if size < 4 else 0.012)
        if sizes[-20:].count(4) == 20:
            break
    assert sizes[-20:] == [4] * 20
    assert sizes.index(4) > 100, "one that cost 360 ms more was not tried before that much had been saved up"


@pytest.mark.parametrize("slower", [1.3, 2.0])
def test_what_ran_beside_a_busy_neighbour_is_measured_again(slower: float):
    """All sizes were, and since then only one in the middle: sizes that are cheap to try must not go before the best."""
    latency = LatencyModel(32)
    for size in (1, 2, 4, 8, 16, 32):
        for _ in range(WINDOW):
            latency.record(size, slower * (0.001 + 0.0004 * size))
    for _ in range(40):
        latency.record(14, 0.001 + 0.0004 * 14)
    assert latency.best_size == 14
    busy = 0.0
    while latency.best_size != 32 and busy < 60.0:
        size = latency.next_size(64)
        latency.record(size, 0.001 + 0.0004 * size)
        busy += 0.001 + 0.0004 * size
    assert busy < 20.0


def test_an_old_opinion_of_a_size_is_outvoted_by_two_runs():
    latency = learnt({1: 10.0, 4: 80.0}, times=WINDOW)
    for _ in range(STALE_AFTER + 1):
        latency.record(1, 0.01)
    for _ in range(2):
        latency.record(4, 0.012)
    assert latency.clearing_size(4) == 4


@given(st.lists(st.tuples(st.integers(1, 16), st.floats(1e-5, 10.0)), max_size=60), st.integers(1, 40))
def test_whatever_was_seen_the_choice_is_legal(runs: list[tuple[int, float]], queued: int):
    latency = LatencyModel(16)
    for size, seconds in runs:
        latency.record(size, seconds)
    largest = max([size for size, _ in runs], default=16)
    for size in (latency.clearing_size(queued), latency.next_size(queued)):
        assert 1 <= size <= min(queued, 16, MAX_GROWTH * largest)
    assert 1 <= latency.best_size <= 16
    assert all(0.0 <= latency.median(size) <= latency.p90(size) for size in range(1, 17))
    assert MIN_RUNS == 2


@given(
    st.sets(st.integers(1, 24), min_size=1).map(lambda sizes: (*sorted(sizes - {24}), 24)),
    st.lists(st.tuples(st.integers(1, 20), st.floats(1e-5, 10.0)), max_size=60),
    st.integers(1, 40),
)
def test_whatever_was_seen_a_padded_choice_is_legal(
    padded: tuple[int, ...], runs: list[tuple[int, float]], queued: int
):
    latency = LatencyModel(20, padded)
    for size, seconds in runs:
        latency.record(size, seconds)
    for size in (latency.clearing_size(queued), latency.next_size(queued), latency.next_size(queued)):
        assert 1 <= size <= min(queued, 20)
        assert size in {*padded, min(queued, 20)} or runs, "all that waits, or a size that is not padded"
    for below, size in pairwise((0, *padded)):
        assert len({latency.median(each) for each in range(below + 1, size + 1)}) == 1
