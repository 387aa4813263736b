"""BatchPolicy: how one model version batches and how much it queues. Frozen; an invalid one can't be made. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from .adaptive import Adaptive
from .rules import Eager, Fixed, Rule
from .tokens import TokenPolicy

RULES: dict[str, type[Rule]] = {"adaptive": Adaptive, "eager": Eager, "fixed": Fixed}


@dataclass(frozen=True, slots=True)
class SequencePolicy:
    """The bounds of stateful batching: at most `most` sequences at a time, each with at most `queue_size` waiting jobs.

    A sequence ends when no job of it has come for `idle` s, or `life` s after it began (0: never).
    """

    most: int = 1
    queue_size: int = 1
    idle: float = 0.0
    life: float = 0.0


@dataclass(frozen=True, slots=True)
class SharePolicy:
    """The weights by which clients share workers: those that are `listed`, and the `default` of each one that isn't.

    If `others` is given, it is the weight of all clients together that aren't listed.
    """

    listed: Mapping[str, float] = field(default_factory=dict[str, float])
    default: float = 1.0
    others: float | None = None


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """The batching and queueing of one model version. Raises ValueError naming the field and the value.

    A batch has at most `batch_size` jobs, and `queue_size` jobs may wait; `max_batch_delay` (s) counts from a job's
    arrival. `rule` is a name of RULES. If there are `padded_sizes`, which ascend, workers run each batch in the next of
    these sizes. If `continuous`, a job stays in its worker's batch for as many steps as it takes; with `sequences`, the
    jobs of one sequence go to one worker. With `tokens`, workers generate text, and take jobs by their tokens. All
    three go without a rule. With `shares`, clients take turns by their weights, except with sequences and if
    `continuous`; with `tokens` they always do, by equal weights if nothing else is said. With several `length_classes`,
    and none of these, batches of the rule `adaptive` are of like length where that pays.
    """

    batch_size: int = 1
    max_batch_delay: float = 0.1
    queue_size: int = 100
    rule: str = "adaptive"
    continuous: bool = False
    sequences: SequencePolicy | None = None
    padded_sizes: tuple[int, ...] = ()
    tokens: TokenPolicy | None = None
    shares: SharePolicy | None = None
    length_classes: int = 1

    def __post_init__(self) -> None:
        _check_count("batch_size", self.batch_size)
        _check_count("queue_size", self.queue_size)
        _check_count("length_classes", self.length_classes)
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
