"""BackPressure: a worker that makes more of a streamed answer than its client takes waits for the client.

While a job is held, nothing is read from its worker's socket; as soon as that is full, the handler waits where it
streams. But the worker answers all requests of a batch over that socket, and one with an asynchronous handler all of
its batches, so that the others wait too. Each of them waits for slow readers for at most PATIENCE seconds in all:
`hold` says how much of that is left, and when it is used up the front door ends the slow reader. A job that its worker
runs alone makes nobody wait but the queue, and may be held for as long as its client takes enough of its answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final, Protocol, runtime_checkable

from ...scheduler.job import Job

PATIENCE: Final = 10.0  # seconds


@runtime_checkable
class Holds(Protocol):
    """A runner that can be made to wait."""

    def hold(self, job: Job) -> float:
        """Wait for the client of `job`, or go on waiting. Return for how many seconds more it may be."""
        ...

    def release(self, job: Job) -> None:
        """Wait for the client of `job` no more. May be called for a job that isn't held."""


class BackPressure:
    """The jobs for whose clients a worker waits. Pure: `now` is the time in seconds on any clock."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """`pause` stops reading from the worker, `resume` reads on."""
        self._pause = pause
        self._resume = resume
        self._held: set[Job] = set()
        self._slow: set[Job] = set()  # those that were held at some time since reading was paused
        self._since = 0.0
        self._waited: dict[Job, float] = {}  # seconds that a job has waited for others, before this pause

    @property
    def waiting(self) -> bool:
        """Whether nothing is read from the worker."""
        return bool(self._held)

    def hold(self, job: Job, company: Iterable[Job], now: float) -> float:
        """Hold `job`, one of the `company` that the worker runs; return the seconds that the others leave it."""
        if not self._held:
            self._since = now
            self._slow.clear()
            self._pause()
        self._held.add(job)
        self._slow.add(job)
        paused = now - self._since
        others = [self._waited.get(other, 0.0) + paused for other in self._waiting_of(company)]
        return PATIENCE - max(others) if others else math.inf

    def release(self, job: Job, company: Iterable[Job], now: float) -> None:
        """Let go of `job`; with the last one, read on."""
        if job not in self._held:
            return
        self._held.discard(job)
        if self._held:
            return
        paused = now - self._since
        before = self._waited
        self._waited = {each: before[each] for each in company if each in before}
        for other in self._waiting_of(company):
            self._waited[other] = before.get(other, 0.0) + paused
        self._resume()

    def _waiting_of(self, company: Iterable[Job]) -> list[Job]:
        return [job for job in company if job not in self._slow and not job.cancelled]
