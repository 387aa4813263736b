"""Budget: how much of something cheap to send, and dear to receive, a client may send."""

from __future__ import annotations


class Budget:
    """A number of tokens that is filled up at a rate, up to what it began with. `now` is in seconds of any clock."""

    __slots__ = ("_at", "_left", "_most", "_rate")

    def __init__(self, most: float, per_second: float) -> None:
        self._most = self._left = float(most)
        self._rate = per_second
        self._at = 0.0

    def spend(self, now: float) -> bool:
        """Take one token, and return whether there was one."""
        if self._left < self._most:
            self._left = min(self._most, self._left + max(0.0, now - self._at) * self._rate)
        self._at = now
        self._left -= 1
        if self._left < 0:
            self._left = 0.0
            return False
        return True

    def earn(self, tokens: float = 1.0) -> None:
        """Give tokens back: the client has done something useful."""
        self._left = min(self._most, self._left + tokens)
