"""BatchPolicy: how one model version batches and how much it queues. Frozen, and invalid ones can't be made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from .adaptive import Adaptive
from .rules import Eager, Fixed

RULES: dict[str, type[Adaptive | Eager | Fixed]] = {"adaptive": Adaptive, "eager": Eager, "fixed": Fixed}


@dataclass(frozen=True, slots=True)
class Sequences:
    """Stateful batching: at most `most` sequences at a time, `queue_size` jobs waiting in each. One ends when nothing
    has come of it for `idle` s, or `life` s after it began (0: never).
    """

    most: int = 1
    queue_size: int = 1
    idle: float = 0.0
    life: float = 0.0


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """At most `batch_size` jobs a batch, `queue_size` jobs waiting; `max_batch_delay` (s) counts from arrival.

    `rule` is a name of RULES. With `padded_sizes`, which ascend, workers run each batch in the next of these sizes.
    With `continuous` jobs stay in the batch for as many steps as they take, and with `sequences` those of one sequence
    have one worker: both go without a rule. Raises ValueError naming the field and the value.
    """

    batch_size: int = 1
    max_batch_delay: float = 0.1
    queue_size: int = 100
    rule: str = "adaptive"
    continuous: bool = False
    sequences: Sequences | None = None
    padded_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_count("batch_size", self.batch_size)
        _check_count("queue_size", self.queue_size)
        _check_seconds("max_batch_delay", self.max_batch_delay)
        if self.rule not in RULES:
            raise ValueError(f"rule must be one of {', '.join(sorted(RULES))}, not {self.rule!r}")
        for size in self.padded_sizes:
            _check_count("padded_sizes", size)
        if any(size <= below for below, size in pairwise(self.padded_sizes)):
            raise ValueError(f"padded_sizes must ascend, not {self.padded_sizes!r}")
        if self.padded_sizes and self.padded_sizes[-1] < self.batch_size:
            raise ValueError(f"padded_sizes must reach {self.batch_size}, the batch_size, not {self.padded_sizes!r}")


def _check_seconds(field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ValueError(f"{field} must be a number of seconds >= 0, not {value!r}")


def _check_count(field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{field} must be a whole number >= 1, not {value!r}")
