"""Run: a batch that a worker has and has not answered, and the clock of its responseTimeout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...scheduler.job import Batch


@dataclass(slots=True)
class Run:
    """A batch in a worker. There is no timer before it runs."""

    batch: Batch
    sent_at: float = 0.0
    timer: asyncio.TimerHandle | None = None
    kept: Sequence[memoryview] = ()  # of its bodies, which the process reads where they lie
    left: float = 0.0  # seconds until it is overdue, from `stopped` on
    stopped: float = 0.0  # when the clock was stopped, on the loop's clock
    waited: float = 0.0  # seconds in which the clock stood still

    def start(self, loop: asyncio.AbstractEventLoop, timeout: float, overdue: Callable[[Batch], None]) -> None:
        """Start the clock: `overdue` is called in `timeout` seconds."""
        self.timer = loop.call_later(timeout, overdue, self.batch)
        self.left, self.stopped = timeout, loop.time()

    def stop(self, now: float) -> None:
        """Stop the clock while the front doesn't read what the worker says."""
        if self.timer is not None:
            self.timer.cancel()
            self.left -= now - self.stopped
            self.stopped = now

    def go_on(self, loop: asyncio.AbstractEventLoop, overdue: Callable[[Batch], None]) -> None:
        """Let the clock run again."""
        if self.timer is not None:
            self.waited += loop.time() - self.stopped
            self.start(loop, self.left, overdue)

    def cancel(self) -> None:
        """End the clock: the batch has ended."""
        if self.timer is not None:
            self.timer.cancel()
