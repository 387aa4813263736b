"""StepThreads in virtual time: which number of threads it comes to, by what steps take with each."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.generation.step_threads import StepThreads

Seconds = Callable[[int, int], float]
"""What a step takes, by its tokens and the threads that it computes with."""


class Engine:
    """An engine whose steps take as long as `seconds` says. `used` are the threads of all steps so far."""

    def __init__(self, most: int, seconds: Seconds) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.threads = 0
        self.set: list[int] = []
        self.used: list[int] = []
        self.steps = StepThreads(most, self._set, lambda: self.now)

    def _set(self, threads: int) -> None:
        self.threads = threads
        self.set.append(threads)

    def step(self, sequences: int, tokens: int = 0) -> int:
        """Compute a step of a token for each sequence, or so many; return its threads."""
        self.steps.begin(sequences, tokens or sequences)
        self.now += self.seconds(tokens or sequences, self.threads)
        self.steps.end()
        self.used.append(self.threads)
        return self.threads

    def settled(self, sequences: int, steps: int = 400) -> int:
        """Return the number of threads that most of the last steps of so many had."""
        used = [self.step(sequences) for _ in range(steps)][steps // 2 :]
        return max(set(used), key=used.count)


def reading(tokens: int, threads: int) -> float:
    """Return what a step takes that waits for the memory, whatever computes it."""
    return 0.05


def computing(tokens: int, threads: int) -> float:
    """Return what a step takes that every thread shortens."""
    return 0.05 / threads


@pytest.mark.parametrize(
    ("most", "seconds", "sequences", "expected"),
    [
        pytest.param(2, reading, 1, 1, id="waits for the memory"),
        pytest.param(16, reading, 1, 1, id="waits for the memory, with many cores"),
        pytest.param(2, computing, 16, 2, id="computes"),
        pytest.param(16, computing, 1, 16, id="computes, with many cores"),
        pytest.param(16, lambda _, threads: 0.05 / min(threads, 4), 1, 4, id="four cores read as fast as all"),
        pytest.param(6, lambda _, threads: 0.05 / min(threads, 3), 2, 3, id="no power of two"),
        pytest.param(2, lambda _, threads: 0.05 * threads, 1, 1, id="a core is another's"),
        pytest.param(1, computing, 1, 1, id="one core"),
    ],
)
def test_a_step_has_the_fewest_threads_that_are_as_fast(
    most: int, seconds: Seconds, sequences: int, expected: int
) -> None:
    assert Engine(most, seconds).settled(sequences) == expected


def test_sizes_have_numbers_of_their_own() -> None:
    engine = Engine(4, lambda tokens, threads: reading(tokens, threads) if tokens < 8 else computing(tokens, threads))
    assert [engine.settled(size) for size in (1, 16, 3)] == [1, 4, 1]
    assert (engine.step(1), engine.step(16)) == (1, 4), "they are remembered"


def test_a_step_that_reads_prompts_has_all_cores() -> None:
    engine = Engine(2, reading)
    assert engine.settled(2) == 1
    assert engine.step(2, 25) == 2
    assert engine.step(2) == 1


@pytest.mark.parametrize(
    ("most", "crowded", "fewer"),
    [
        pytest.param(2, lambda _, threads: 0.05 * threads, 1, id="a core is another's"),
        pytest.param(6, lambda _, threads: 0.05 * threads, 1, id="no power of two"),
        pytest.param(16, lambda _, threads: 0.05 / min(threads, 4), 4, id="some of many"),
    ],
)
def test_what_changes_is_found_again(most: int, crowded: Seconds, fewer: int) -> None:
    engine = Engine(most, computing)
    assert engine.settled(1) == most
    engine.seconds = crowded
    assert engine.settled(1) == fewer
    engine.seconds = computing
    assert engine.settled(1, 2000) == most
    assert max(engine.used) == most


def test_tries_that_lose_become_rare() -> None:
    engine = Engine(2, computing)
    used = [engine.step(16) for _ in range(1000)]
    assert used[:2] == [2, 1], "the first try comes at once"
    assert used[200:].count(1) in range(22, 27), "then one of some 33 steps is lost"


def test_steps_of_other_tokens_are_not_compared() -> None:
    """What two sequences take says nothing of what three take: these steps alternate, so that nothing is tried."""
    engine = Engine(2, lambda tokens, threads: 0.02 * tokens * threads)
    for _ in range(50):
        engine.step(2)
        engine.step(3)
    assert set(engine.used) == {2}


def test_single_slow_steps_change_nothing() -> None:
    """A slow step before a try makes it look good, but not three times in a row."""
    engine = Engine(2, computing)
    steps = random.Random(1)
    for _ in range(4000):
        engine.seconds = (lambda *_: 1.0) if steps.random() < 0.05 else computing
        engine.step(1)
    assert (1, 1) not in itertools.pairwise(engine.used), "each step with one thread was a try"


def test_the_number_is_set_when_it_changes_alone() -> None:
    engine = Engine(2, reading)
    engine.settled(1)
    changes = [a for a, b in zip([0, *engine.used], engine.used, strict=False) if a != b]
    assert len(engine.set) == len(changes)


@given(st.integers(1, 64), st.lists(st.tuples(st.integers(1, 40), st.integers(0, 600), st.floats(1e-6, 1.0))))
def test_whatever_steps_come_the_number_is_between_one_and_all(most: int, steps: list[tuple[int, int, float]]) -> None:
    engine = Engine(most, reading)
    for sequences, more, seconds in steps:
        engine.seconds = lambda *_, took=seconds: took
        threads = engine.step(sequences, sequences + more)
        assert 1 <= threads <= most
        assert threads == most or not more
