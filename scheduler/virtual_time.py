"""VirtualLoop: an event loop whose time jumps, for tests and simulation. An hour of sleep takes a millisecond."""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike


class Deadlock(RuntimeError):
    """The error that nothing is ready and no timer is set: the loop would hang for ever."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that starts at `start` seconds and never sleeps.

    When nothing is ready, time jumps to the next timer; if there is none, Deadlock is raised. File descriptors that are
    ready are served, but the loop waits for none, nor for a thread.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._now = start
        super().__init__(_JumpingSelector(self))

    def time(self) -> float:
        """Return the virtual time (s)."""
        return self._now

    def jump(self, timeout: float | None) -> None:
        """Let `timeout` seconds pass. Raises Deadlock for None."""
        if timeout is None:
            waiting = sorted(task.get_name() for task in asyncio.all_tasks(self))
            raise Deadlock(f"nothing is ready and no timer is set at {self._now} s; tasks that wait: {waiting}")
        self._now += timeout
        # asyncio runs a timer once `when < now + resolution`: late in a long run a nanosecond vanishes in that sum.
        self._clock_resolution: float = max(1e-9, 2 * math.ulp(self._now))


class _JumpingSelector(selectors.BaseSelector):
    """A selector that lets virtual time pass where a real one would block."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._real = selectors.DefaultSelector()

    def register(self, fileobj: FileDescriptorLike, events: int, data: object = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: FileDescriptorLike) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = self._real.select(0)
        if not events and timeout != 0:
            self._loop.jump(timeout)
        return events

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[FileDescriptorLike, selectors.SelectorKey]:
        return self._real.get_map()
