"""Backoff: how long a worker that died waits before it starts again, and when it is given up."""

from __future__ import annotations

_LONGEST = 1597.0


class Backoff:
    """Fibonacci delays: 1, 1, 2, 3, 5, ... up to 1597 s, until `max_retry` seconds after the run's first failure."""

    __slots__ = ("_delay", "_first", "_max_retry", "_previous")

    def __init__(self, max_retry: float = 300.0) -> None:
        """Raises ValueError for a negative `max_retry`; 0 means no retry."""
        if not max_retry >= 0:
            raise ValueError(f"max_retry must be a number of seconds >= 0, not {max_retry!r}")
        self._max_retry = max_retry
        self.reset()

    def next(self, now: float) -> float | None:
        """Called at a failure: seconds to wait before the next start, or None: give up."""
        if self._first is None:
            self._first = now
        if now - self._first >= self._max_retry:
            return None
        self._previous, self._delay = self._delay, min(self._previous + self._delay, _LONGEST)
        return self._delay

    def reset(self) -> None:
        """The worker loaded its model: the next failure begins a new run."""
        self._first: float | None = None
        # TorchServe's series begins 0, 1, 1, 2 and its first retry takes the second entry.
        self._previous, self._delay = 1.0, 0.0
