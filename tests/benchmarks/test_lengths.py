"""Texts of many lengths in virtual time: batches of like length serve a mixed queue no worse, and MiniLM's far better."""

from __future__ import annotations

import pytest

from benchmarks.lengths import BEST_WITHIN, MODELS
from benchmarks.simulation.lengths import Texts, play

MINILM, PADDING, FLAT = MODELS


@pytest.mark.parametrize(
    ("texts", "clients", "gain"),
    [(MINILM, 16, 2.0), (MINILM, 64, 2.0), (PADDING, 16, 1.0 - BEST_WITHIN), (FLAT, 4, 1.0 - BEST_WITHIN)],
)
def test_a_mixed_queue_is_served_no_worse(texts: Texts, clients: int, gain: float) -> None:
    plain, bucketed = (play(texts, clients, 8.0, bucketed=each) for each in (False, True))
    assert bucketed.rate >= gain * plain.rate


def test_it_is_more_than_twice_as_fast_as_batches_of_whatever_is_there() -> None:
    torchserves = play(MINILM, 16, 8.0, bucketed=False, rule="fixed", delay=0.005)
    assert play(MINILM, 16, 8.0, bucketed=True).rate > 2.0 * torchserves.rate
