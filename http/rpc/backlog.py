"""Backlog: the messages of a call that came while its client took no answers."""

from __future__ import annotations

from collections.abc import Callable

from ...core.payload import Body
from .method import OpenCall


class Backlog:
    """A queue of messages, which is empty unless the client has more to take than may be ahead of it.

    While it holds any, the client is not let send more; what it may send already comes in any case.
    """

    __slots__ = ("_call", "_waiting")

    def __init__(self, call: OpenCall) -> None:
        self._call = call
        self._waiting: list[Body] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def keeps(self, data: Body) -> bool:
        """Keep a message if it has to wait, and return whether it does."""
        if not self._waiting and not self._call.full:
            return False
        self._waiting.append(data)
        self._call.read_on(on=False)
        return True

    def hand_on(self, take: Callable[[Body], None]) -> bool:
        """Give the messages to `take` until the client is behind again. Return whether none is left."""
        waiting, self._waiting = self._waiting, []
        for at, data in enumerate(waiting):
            if self._call.full:
                self._waiting = waiting[at:]
                return False
            take(data)
        self._call.read_on(on=True)
        return True

    def clear(self) -> None:
        """Drop all messages: the client has gone."""
        self._waiting.clear()
