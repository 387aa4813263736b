"""Pace: how long a round of the log waits for further entries before it is written.

Scripts that were written for TorchServe look for a request's lines once they have its answer: there most lines are
written before it is sent. So a quiet log is written as soon as there is an entry. A busy one is written in short
rounds: each wakes the thread and takes the interpreter from the event loop, and formatting should never hold it for
long.
"""

from __future__ import annotations

RATE = 1000.0  # entries per second up to which a log is quiet; a request has three or four
BURST = 20.0  # entries that may come at once, or faster than that
SHORTEST, LONGEST = 0.001, 0.02  # seconds
EACH = 0.0005  # seconds more for each entry of the round before: above 2,000 entries/s rounds grow to LONGEST


class Pace:
    """A count of the entries that were written above RATE, of which RATE per second are forgotten."""

    def __init__(self) -> None:
        self._above = 0.0
        self._counted_at = 0.0
        self._entries = 0  # of the round before

    def pause(self, now: float) -> float:
        """Return the seconds that a round waits whose first entry is there at `now`."""
        self._above = max(0.0, self._above - RATE * (now - self._counted_at))
        self._counted_at = now
        if self._above <= BURST:
            return 0.0
        return min(LONGEST, max(SHORTEST, self._entries * EACH))

    def wrote(self, entries: int) -> None:
        """Count the entries of a round."""
        self._entries = entries
        self._above += entries
