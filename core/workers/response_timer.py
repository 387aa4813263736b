"""ResponseTimer: tells of a worker's batches that take longer than responseTimeout, by one timer of the loop for all.

A timer for each batch would be set and cancelled again for each. One is left standing instead: when it fires it looks
which batch is due first, and waits for that one.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping

from ...scheduler.job import Batch
from .run import Run


class ResponseTimer:
    """The timer of the batches that a worker runs. It calls `overdue` with each that has run for `timeout` seconds."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        timeout: float,
        runs: Mapping[int, Run],
        overdue: Callable[[Batch], None],
    ) -> None:
        self._loop = loop
        self._timeout = timeout
        self._runs = runs
        self._overdue = overdue
        self._handle: asyncio.TimerHandle | None = None
        self._at = 0.0

    def begin(self, run: Run) -> None:
        """Note that a batch runs from now on."""
        run.due = due = self._loop.time() + self._timeout
        if self._handle is None:
            self._wait_until(due)

    def stop(self) -> None:
        """Let no time count from now on: the front doesn't read from the worker."""
        now = self._loop.time()
        for run in self._runs.values():
            run.stop(now)

    def go_on(self) -> None:
        """Let time count again."""
        now = self._loop.time()
        for run in self._runs.values():
            run.go_on(now)
        self._wait()

    def close(self) -> None:
        """Tell of no batch any more."""
        if self._handle is not None:
            self._handle.cancel()

    def _look(self) -> None:
        self._handle = None
        now = max(self._loop.time(), self._at)  # loops may fire a timer a little before its time by their own clock
        for run in list(self._runs.values()):
            if run.due is not None and run.due <= now:
                run.due = run.left = math.inf  # it is told of once
                self._overdue(run.batch)
        self._wait()

    def _wait(self) -> None:
        due = min((run.due for run in self._runs.values() if run.due is not None), default=math.inf)
        if due < math.inf and (self._handle is None or due < self._at):
            self.close()
            self._wait_until(due)

    def _wait_until(self, at: float) -> None:
        self._at = at
        self._handle = self._loop.call_at(at, self._look)
