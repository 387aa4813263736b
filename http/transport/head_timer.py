"""HeadTimer: a limit on the seconds in which the head of a request has to come."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Receiver(Protocol):
    """An interface of the connection that receives heads."""

    @property
    def awaits_head(self) -> bool:
        """Whether every request that has come is answered."""
        ...

    def stay_open(self) -> None:
        """Have the connection not end as an idle one."""
        ...

    def refuse_slow_head(self) -> None:
        """Refuse the head that did not come to its end."""
        ...


class HeadTimer:
    """A timer for the head that a connection receives, from its first byte on.

    A client may send a head while an earlier request of the connection is answered, during which its bytes may wait
    unread. So a head is refused only if the connection has awaited nothing else for the whole of the time. It is looked
    at again otherwise, and is given twice the time at most.
    """

    __slots__ = ("_handle", "_receiver", "_seconds")

    def __init__(self, receiver: Receiver, seconds: float) -> None:
        self._receiver = receiver
        self._seconds = seconds
        self._handle: asyncio.TimerHandle | None = None

    @property
    def running(self) -> bool:
        """Whether a part of a head has come, and not all of it."""
        return self._handle is not None

    def begin(self) -> None:
        """Note that a part of a head has come."""
        if self._handle is None:
            awaited = self._receiver.awaits_head
            if awaited:
                self._receiver.stay_open()
            self._handle = asyncio.get_running_loop().call_later(self._seconds, self._look, awaited)

    def end(self) -> None:
        """Note that the head is whole, or is not wanted any more."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _look(self, awaited: bool) -> None:
        self._handle = None
        if awaited and self._receiver.awaits_head:
            self._receiver.refuse_slow_head()
        else:
            self.begin()
