"""When a free worker takes the queue, and how much of it: one small class a rule.

`adaptive.py` has the default one, and `policy.py` the names.
"""

from __future__ import annotations

from typing import Protocol, TypeAlias

from .job import Cause
from .latency_model import Costs

# Release now and why, or the time (s) at which to ask again if nothing happens before.
Verdict: TypeAlias = Cause | float


class Rule(Protocol):
    """Asked while jobs wait and a worker is free. All times in seconds of one clock."""

    @property
    def learns(self) -> bool:
        """It wants to know what batches cost, and goes by it."""
        ...

    def arrived(self, now: float) -> None:
        """A job came."""
        ...

    def ended(self, now: float) -> None:
        """A batch ended: its answers go out now."""
        ...

    def size(self, queued: int, costs: Costs) -> int:
        """How many of `queued` >= 1 jobs the next batch takes."""
        ...

    def decide(
        self, queued: int, oldest: float, since: float, announced: int, latest: float, now: float, costs: Costs
    ) -> Verdict:
        """Release, or wait until a time later than `now`; at that time, if nothing else happens, it must release.

        `queued` >= 1 jobs wait, one of them since `oldest`, and a worker could have had them `since`. `announced`
        requests have their head here and their body still arriving, the youngest of them since `latest` (meaningless
        when there are none).
        """
        ...


class Fixed:
    """TorchServe's: a full batch, or what is there once the oldest job has waited the whole delay."""

    __slots__ = ("_delay", "_size")
    learns = False

    def __init__(self, batch_size: int, max_batch_delay: float) -> None:
        self._size = batch_size
        self._delay = max_batch_delay

    def arrived(self, now: float) -> None: ...

    def ended(self, now: float) -> None: ...

    def size(self, queued: int, costs: Costs) -> int:
        return min(queued, self._size)

    def decide(
        self, queued: int, oldest: float, since: float, announced: int, latest: float, now: float, costs: Costs
    ) -> Verdict:
        if queued >= self._size:
            return Cause.FULL
        due = oldest + self._delay
        return Cause.DELAY if due <= now else due


class Eager(Fixed):
    """What is there, at once; holds a batch that isn't full only for requests whose body is already arriving."""

    __slots__ = ()

    def decide(
        self, queued: int, oldest: float, since: float, announced: int, latest: float, now: float, costs: Costs
    ) -> Verdict:
        if queued >= self._size:
            return Cause.FULL
        if not announced:
            return Cause.FREE_WORKER
        # A body that has been arriving for a whole delay is a slow client's: it must not hold up everybody for good.
        due = min(oldest, latest) + self._delay
        return Cause.DELAY if due <= now else due
