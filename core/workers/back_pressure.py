"""BackPressure: stops reading from a worker that streams faster than a client reads.

While a job is held, nothing is read from its worker's socket; once that is full, the handler blocks where it streams.
The worker answers all requests of a batch over that socket, and one with an asynchronous handler all of its batches, so
that those wait too. Each of them waits for slow readers at most PATIENCE seconds in all: `hold` returns how much of
that is left, and when it is used up the front door ends the slow reader. A job that its worker runs alone delays only
the queue, and may be held for as long as its client reads fast enough.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final, Protocol, runtime_checkable

from ...scheduler.job import Job

PATIENCE: Final = 10.0  # seconds


@runtime_checkable
class Holds(Protocol):
    """A runner that can be made to wait for a client."""

    def hold(self, job: Job) -> float:
        """Wait for the client of `job`, or go on waiting. Return for how many more seconds that is allowed."""
        ...

    def release(self, job: Job) -> None:
        """Stop waiting for the client of `job`. May be called for a job that isn't held."""


class BackPressure:
    """The jobs for whose clients a worker waits. Pure: `now` is the time in seconds on any clock."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """`pause` is called to stop reading from the worker, `resume` to read on."""
        self._pause = pause
        self._resume = resume
        self.waiting = False  # whether nothing is read from the worker; each batch asks
        self._held: set[Job] = set()
        self._slow: set[Job] = set()  # the jobs that were held at some time since reading was paused
        self._since = 0.0
        self._waited: dict[Job, float] = {}  # seconds that a job waited for others before this pause

    def hold(self, job: Job, company: Iterable[Job], now: float) -> float:
        """Hold `job`, one of the `company` that the worker runs. Return the seconds that the others still allow it."""
        if not self.waiting:
            self.waiting = True
            self._since = now
            self._slow.clear()
            self._pause()
        self._held.add(job)
        self._slow.add(job)
        paused = now - self._since
        others = [self._waited.get(other, 0.0) + paused for other in self._waiting_of(company)]
        return PATIENCE - max(others) if others else math.inf

    def release(self, job: Job, company: Iterable[Job], now: float) -> None:
        """Let go of `job`; after the last one, read on."""
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
        self.waiting = False
        self._resume()

    def _waiting_of(self, company: Iterable[Job]) -> list[Job]:
        return [job for job in company if job not in self._slow and not job.cancelled]
