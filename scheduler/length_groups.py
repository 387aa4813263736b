"""LengthGroups: which of the jobs that wait share a batch, where a batch costs what its longest job costs. Pure.

A model of texts pads a batch to its longest text. A short text beside a long one then takes as long as the long one, so
that batches of mixed lengths may cost more than their jobs one by one, while batches of like lengths pay. Each job has
a class of length, from 0 for the shortest on.

What is measured. A `LatencyModel` for each class learns what batches take whose longest job is of that class.

What is chosen. The first job of the queue is always taken, so that none starves. The candidates are the spans of
classes around its own: of each, the first jobs of the queue that lie in the span, as many as clear it soonest. A job
is worth the seconds that it takes in the best batch of its own class. The candidate with the most worth per second
runs. Where padding costs, that is a narrow span; where a batch takes the same whatever is in it, the widest, which is
the order of the queue.

The first job of a class of which a single job was not measured yet runs alone: what batches gain can't be told without,
and a full queue would never show it.

Only the first LOOKAHEAD batches' worth of jobs are looked at: a decision takes microseconds however long the queue is,
and no job overtakes more than these.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import NamedTuple

from .job import Batch, Job
from .latency_model import MIN_RUNS, LatencyModel
from .queue import JobQueue

LOOKAHEAD = 8  # batches of the largest size


class Group(NamedTuple):
    """The jobs of the queue that may share the next batch, in order, and what batches like theirs take."""

    jobs: Sequence[Job]
    latency: LatencyModel


class LengthGroups:
    """The choice of jobs of like length for the batches of one queue, whose jobs have `classes` classes of length."""

    __slots__ = ("_classes", "_largest", "_latencies", "_padded", "_singles")

    def __init__(self, classes: int, largest: int, padded: Sequence[int] = ()) -> None:
        self._classes = classes
        self._largest = largest
        self._padded = padded
        self._latencies: dict[str, list[LatencyModel]] = {}  # by kind of device
        self._singles: dict[str, list[int]] = {}  # the same, how many jobs ran alone

    def record(self, batch: Batch, seconds: float) -> None:
        """Record that `batch` took `seconds`."""
        longest = max([job.length_class for job in batch.jobs])
        device = batch.runner.device
        self._models(device)[longest].record(len(batch.jobs), seconds)
        self._singles[device][longest] += len(batch.jobs) == 1

    def forget(self, device: str) -> None:
        """Forget what batches took on devices of this kind."""
        self._latencies.pop(device, None)
        self._singles.pop(device, None)

    def choose(self, queue: JobQueue, device: str) -> Group:
        """Return the group to run next on a device of this kind. The queue must not be empty."""
        models = self._models(device)
        seen = list(islice(queue, LOOKAHEAD * self._largest))
        own = seen[0].length_class
        if self._singles[device][own] < MIN_RUNS:
            return Group(seen[:1], models[own])
        low, high = _best_span(seen, models)
        return Group([job for job in seen if low <= job.length_class <= high], models[high])

    def _models(self, device: str) -> list[LatencyModel]:
        found = self._latencies.get(device)
        if found is None:
            found = [LatencyModel(self._largest, self._padded) for _ in range(self._classes)]
            self._latencies[device], self._singles[device] = found, [0] * self._classes
        return found


def _best_span(seen: Sequence[Job], models: Sequence[LatencyModel]) -> tuple[int, int]:
    """Return the span of classes whose first jobs are worth most per second; the widest of equals."""
    own = seen[0].length_class
    there = sorted({job.length_class for job in seen})
    worth = [model.median(size := model.best_size) / size if model.known else 0.0 for model in models]
    best, best_rate = (own, own), 0.0
    for high in reversed([each for each in there if each >= own and models[each].known]):
        for low in [each for each in there if each <= own]:
            jobs = [job.length_class for job in seen if low <= job.length_class <= high]
            size = models[high].clearing_size(len(jobs))
            taken = jobs[:size]
            # With no job of the longest class among those taken it is the candidate of a narrower span.
            if high not in taken:
                continue
            rate = sum([worth[each] for each in taken]) / max(models[high].median(size), 1e-9)
            if rate > best_rate:
                best, best_rate = (low, high), rate
    return best
