"""When a free worker takes the queue: one small class a rule, listed in RULES under the name that BatchPolicy uses."""

from __future__ import annotations

from typing import Protocol, TypeAlias

from .job import Cause

# Release now and why, or the time (s) at which to ask again if nothing happens before.
Verdict: TypeAlias = Cause | float


class Rule(Protocol):
    """Asked once per free worker while jobs wait; must answer a Cause at the time it named itself."""

    def decide(self, queued: int, oldest: float, announced: int, latest: float, now: float) -> Verdict:
        """Release, or wait until a time later than `now`.

        `queued` >= 1 jobs wait, the first since `oldest`. `announced` requests have their head here and their body
        still arriving, the youngest of them since `latest` (meaningless when there are none). Times in seconds.
        """
        ...


class Fixed:
    """A full batch, or what is there once the oldest job has waited the whole delay."""

    __slots__ = ("_delay", "_size")

    def __init__(self, batch_size: int, max_batch_delay: float) -> None:
        self._size = batch_size
        self._delay = max_batch_delay

    def decide(self, queued: int, oldest: float, announced: int, latest: float, now: float) -> Verdict:
        if queued >= self._size:
            return Cause.FULL
        due = oldest + self._delay
        return Cause.DELAY if due <= now else due


class Eager:
    """What is there, at once; holds a batch that isn't full only for requests whose body is already arriving."""

    __slots__ = ("_delay", "_size")

    def __init__(self, batch_size: int, max_batch_delay: float) -> None:
        self._size = batch_size
        self._delay = max_batch_delay

    def decide(self, queued: int, oldest: float, announced: int, latest: float, now: float) -> Verdict:
        if queued >= self._size:
            return Cause.FULL
        if not announced:
            return Cause.FREE_WORKER
        # A body that has been arriving for a whole delay is a slow client's: it must not hold up everybody for good.
        due = min(oldest, latest) + self._delay
        return Cause.DELAY if due <= now else due


RULES: dict[str, type[Fixed | Eager]] = {"eager": Eager, "fixed": Fixed}
