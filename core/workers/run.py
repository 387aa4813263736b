"""Run: a batch that a worker has and has not answered, and the timer of its responseTimeout."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...scheduler.job import Batch


@dataclass(slots=True)
class Run:
    """A batch in a worker. `timer` is None until the batch runs."""

    batch: Batch
    sent_at: float = 0.0
    timer: asyncio.TimerHandle | None = None
    kept: Sequence[memoryview] = ()  # views that keep its bodies in shared memory while the process reads them
    left: float = 0.0  # seconds from `stopped` until the batch is overdue
    stopped: float = 0.0  # when the timer was started or stopped, by the loop's clock
    streamed: bool = False  # whether a part of an answer has come
    waited: float = 0.0  # seconds in which the timer was stopped

    def start(self, loop: asyncio.AbstractEventLoop, timeout: float, overdue: Callable[[Batch], None]) -> None:
        """Start the timer: `overdue` is called in `timeout` seconds."""
        self.timer = loop.call_later(timeout, overdue, self.batch)
        self.left, self.stopped = timeout, loop.time()

    def stop(self, now: float) -> None:
        """Stop the timer while the front doesn't read from the worker."""
        if self.timer is not None:
            self.timer.cancel()
            self.left -= now - self.stopped
            self.stopped = now

    def go_on(self, loop: asyncio.AbstractEventLoop, overdue: Callable[[Batch], None]) -> None:
        """Start the timer again with the remaining time."""
        if self.timer is not None:
            self.waited += loop.time() - self.stopped
            self.start(loop, self.left, overdue)

    def cancel(self) -> None:
        """Cancel the timer: the batch has ended."""
        if self.timer is not None:
            self.timer.cancel()
