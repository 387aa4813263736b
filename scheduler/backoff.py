"""Backoff: how long a worker that died waits before it starts again, and when it is given up. Pure."""

from __future__ import annotations

_LONGEST = 1597.0  # s


class Backoff:
    """A series of Fibonacci delays: 1, 1, 2, 3, 5, … 1597 s, until `max_retry` s after the first failure in a row."""

    __slots__ = ("_delay", "_first", "_max_retry", "_previous")

    def __init__(self, max_retry: float = 300.0) -> None:
        """Retry for `max_retry` seconds; 0: not at all. Raises ValueError if it is negative."""
        if not max_retry >= 0:
            raise ValueError(f"max_retry must be a number of seconds >= 0, not {max_retry!r}")
        self._max_retry = max_retry
        self._first: float | None = None
        self._previous = self._delay = 0.0
        self.reset()

    def next(self, now: float) -> float | None:
        """Return the seconds to wait before the next start after a failure at `now`; None: give the worker up."""
        if self._first is None:
            self._first = now
        if now - self._first >= self._max_retry:
            return None
        self._previous, self._delay = self._delay, min(self._previous + self._delay, _LONGEST)
        return self._delay

    def reset(self) -> None:
        """Note that the worker has loaded its model: the next failure is the first in a row."""
        self._first = None
        # TorchServe's series begins 0, 1, 1, 2 and its first retry takes the second entry.
        self._previous, self._delay = 1.0, 0.0
