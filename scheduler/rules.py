"""The rules by which a free worker's next batch is released, and the view of the queue that they decide by. Pure.

A rule answers one question: run what waits now, or ask again later? The queue's order, deadlines and exclusive jobs
are the batcher's business, so no rule can break them. `policy.py` gives the rules their names; the default one,
`Adaptive`, is in `adaptive.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple, Protocol, TypeAlias

from .job import ReleaseReason
from .latency_model import LatencyModel

# The reason to release a batch now, or the time (s) at which to ask again if nothing happens before.
Decision: TypeAlias = ReleaseReason | float


class QueueView(NamedTuple):
    """The state of a queue and of the free worker that would run its next batch. All times are seconds of one clock.

    `queued` >= 1 jobs wait; the oldest arrived at `oldest_arrival`. The worker could have run a job since `since`: the
    later of that arrival and the moment the worker became free. `bodies_arriving` requests have sent their head and
    not yet all of their body; the latest of these began at `latest_body` (meaningless if there is none). `latency`
    estimates what batches take on the worker's kind of device.
    """

    queued: int
    oldest_arrival: float
    since: float
    bodies_arriving: int
    latest_body: float
    now: float
    latency: LatencyModel


class Rule(Protocol):
    """A policy that decides when a free worker's next batch is released and how many jobs it takes.

    A rule belongs to one queue. `arrived` and `ended` tell it what happens there, so that it can learn from it.
    """

    uses_latency: ClassVar[bool]
    """Whether the rule goes by latencies: only then are they recorded, late jobs refused and batches prefetched."""

    def __init__(self, batch_size: int, max_batch_delay: float) -> None:
        """Bound batches to `batch_size` jobs and waits to `max_batch_delay` s."""

    def arrived(self, times: Sequence[float]) -> None:
        """Note that jobs were queued at these times, in order."""

    def ended(self, now: float) -> None:
        """Note that a batch ended: its answers are sent now."""

    def size(self, queued: int, latency: LatencyModel) -> int:
        """Return how many of `queued` >= 1 jobs the next batch takes."""
        ...

    def decide(self, view: QueueView) -> Decision:
        """Return the reason to release a batch now, or a time after `view.now` at which to ask again.

        Asked while jobs wait and a worker is free. If nothing else happens until the time that was returned, the rule
        must release then.
        """
        ...


class Fixed:
    """A rule that waits for a full batch, for at most the whole delay since the oldest job arrived: TorchServe's."""

    __slots__ = ("_delay", "_size")
    uses_latency: ClassVar[bool] = False

    def __init__(self, batch_size: int, max_batch_delay: float) -> None:
        self._size = batch_size
        self._delay = max_batch_delay

    def arrived(self, times: Sequence[float]) -> None: ...

    def ended(self, now: float) -> None: ...

    def size(self, queued: int, latency: LatencyModel) -> int:
        return min(queued, self._size)

    def decide(self, view: QueueView) -> Decision:
        if view.queued >= self._size:
            return ReleaseReason.FULL
        return release_at(view.oldest_arrival + self._delay, view.now)


class Eager(Fixed):
    """A rule that releases whatever waits, and holds a batch that isn't full only for bodies that are arriving."""

    __slots__ = ()

    def decide(self, view: QueueView) -> Decision:
        if view.queued >= self._size:
            return ReleaseReason.FULL
        if not view.bodies_arriving:
            return ReleaseReason.FREE_WORKER
        # A body that has been arriving for a whole delay belongs to a slow client, which must not hold up the others.
        return release_at(min(view.oldest_arrival, view.latest_body) + self._delay, view.now)


def release_at(due: float, now: float) -> Decision:
    """Return the decision of a rule whose delay ends at `due`."""
    return ReleaseReason.DELAY if due <= now else due
