"""Autotuner: a candidate that is faster for batches alone leaves small ones to the model before it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from torchserve.core.handlers.speed.autotune import BUDGET, LATER, Autotuner
from torchserve.core.handlers.speed.candidate import Candidate
from torchserve.core.handlers.speed.turns import NO_REQUESTS, Turns


class Handler:
    """A handler whose model takes `plain`, and its copy `copied`, seconds: the first row, and each further one."""

    model = torch.nn.Identity()
    device = context = None
    padded_batch_sizes: tuple[int, ...] = ()

    def __init__(self, copied: tuple[float, float], plain: tuple[float, float] = (0.001, 0.001)) -> None:
        self.now = 0.0
        self.least: float = float("inf")
        self._copied, self._plain = copied, plain

    def __call__(self) -> float:
        return self.now

    def padded_size(self, rows: int) -> int:
        return rows

    def inference(self, batch: torch.Tensor) -> torch.Tensor:
        first, further = self._copied if len(batch) >= self.least else self._plain
        self.now += first + further * (len(batch) - 1)
        return batch

    def from_size(self, least: int) -> None:
        self.least = least


@pytest.mark.parametrize(
    ("copied", "least", "note"),
    [
        ((0.0005, 0.0005), 1, "copy: measured 2.00 for 1 and 2.00 for 16 times as fast"),
        ((0.0015, 0.0005), 2, "copy: measured 0.67 for 1 and 1.78 for 16 times as fast, run from 2 on"),
        ((0.0035, 0.0005), 8, "copy: measured 0.29 for 1 and 1.45 for 16 times as fast, run from 8 on"),
        ((0.0050, 0.0005), 16, "copy: measured 0.20 for 1 and 1.28 for 16 times as fast, run from 16 on"),
        ((0.0080, 0.0005), None, "plain: copy is measured 0.12 for 1 and 1.03 for 16 times as fast"),
    ],
)
def test_a_lone_row_never_pays_for_what_batches_gain(copied: tuple[float, float], least: int | None, note: str) -> None:
    handler: Any = Handler(copied)
    tuner = Autotuner(handler, torch.ones(1), 16, handler)
    candidate = Candidate(
        "copy", "plain", take=lambda: handler.from_size(1), leave=lambda: handler.from_size(99), least=handler.from_size
    )
    assert tuner.try_candidate(candidate) == (least is not None, note)
    assert handler.least == (least or 99)
    if least is not None:
        assert tuner.least == least, "what is remembered"
        handler.least = 99
        assert tuner.adopt(candidate, least) == ""
        assert handler.least == least


def test_what_has_no_least_must_not_be_slower_for_one() -> None:
    handler: Any = Handler((0.0015, 0.0005))
    tuner = Autotuner(handler, torch.ones(1), 16, handler)
    candidate = Candidate("copy", "plain", take=lambda: handler.from_size(1), leave=lambda: handler.from_size(99))
    assert tuner.try_candidate(candidate)[0] is False


def test_the_next_candidate_has_to_beat_what_each_size_takes_now() -> None:
    handler: Any = Handler((0.0015, 0.0005))
    tuner = Autotuner(handler, torch.ones(1), 16, handler)
    tuner.try_candidate(Candidate("copy", "plain", lambda: handler.from_size(1), lambda: None, least=handler.from_size))
    nothing = Candidate("nothing", "as before", take=lambda: None, leave=lambda: None)
    assert tuner.try_candidate(nothing)[1] == "as before: nothing is measured 1.00 for 1 and 1.00 for 16 times as fast"


class Requests:
    """Turns with requests of 100 s before every step, which move the clock of `handler`."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.answered = 0

    def wanted(self) -> bool:
        return True

    def give_way(self, seconds: float = 0.0) -> None:
        self.handler.now += 100.0
        self.answered += 1

    def tell(self, notes: dict[str, str]) -> None:
        raise AssertionError("a tuner tells nothing")


def halved(handler: Handler) -> Candidate:
    return Candidate("copy", "plain", take=lambda: handler.from_size(1), leave=lambda: handler.from_size(99))


@pytest.mark.parametrize(
    ("between", "note"),
    [
        (False, "copy: measured 2.00 for 1 and 2.00 for 2 times as fast"),
        (True, "copy: measured 2.00 for 1 and 2.00 for 16 times as fast"),
    ],
)
def test_trials_between_requests_have_time_for_batches(between: bool, note: str) -> None:
    handler: Any = Handler((0.02, 0.02), (0.04, 0.04))
    turns: Turns = Requests(handler) if between else NO_REQUESTS
    tuner = Autotuner(handler, torch.ones(1), 16, handler, turns)
    assert tuner.try_candidate(halved(handler)) == (True, note)


@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("row", [0.001, 0.01, 0.04, 0.2, 0.9, 3.0])
def test_trials_end_within_their_budget_without_the_time_of_requests(row: float, between: bool) -> None:
    handler: Any = Handler((row, row), (row, row))
    turns: Any = Requests(handler) if between else NO_REQUESTS
    tuner = Autotuner(handler, torch.ones(1), 16, handler, turns)
    notes = [tuner.try_candidate(halved(handler))[1] for _ in range(20)]
    tuner.warm_up()
    computed = handler.now - 100.0 * (turns.answered if between else 0)
    assert computed <= max(LATER if between else BUDGET, 2 * row), "the first two runs tell how long a row takes"
    assert notes[-1] == "plain: measuring would take too long" or row == 0.001
