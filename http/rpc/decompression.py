"""Decompression: large compressed messages of one call, which threads decompress, and the messages behind them."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from ...core.payload import Body
from ..app_context import AppContext
from .framing import Squeezed


class Owner(Protocol):
    """An interface for the call that the messages are of."""

    context: AppContext

    @property
    def over(self) -> bool:
        """Whether nothing is to be done for the call any more."""
        ...

    def hand_on(self, message: Body) -> None:
        """Take the next message. Raises what is wrong with it."""

    def all_handed_on(self) -> None:
        """Note that no message waits any more."""

    def give_up(self, error: BaseException) -> None:
        """End the call with the status of an error."""

    def read_on(self, *, on: bool) -> None:
        """Let the client send more, or not."""


class Decompression:
    """The messages of a call from the first on that a thread decompresses: the call gets all of them in their order.

    Meanwhile the client may not send more than it may already, and the bytes that have come count as those of a body
    that arrives. Each message takes one thread of the loop's executor, whose number bounds how many are decompressed at
    a time. `close` must be called in the end.
    """

    __slots__ = ("_arrival", "_call", "_waiting")

    def __init__(self, call: Owner) -> None:
        self._call = call
        self._waiting: deque[Body | Squeezed] = deque()
        self._arrival = call.context.dataplane.expect("", None)
        _ = self._arrival.__enter__()

    def begin(self, first: Squeezed) -> None:
        """Begin with this message. Raises ServerFull."""
        self._arrival.grow(first.size)
        self._call.read_on(on=False)
        self._decompress(first)

    def add(self, message: Body | Squeezed) -> None:
        """Keep the next message until those before it are taken. Raises ServerFull."""
        self._arrival.grow(message.size if isinstance(message, Squeezed) else len(message))
        self._waiting.append(message)

    def close(self) -> None:
        """Forget the messages: they are taken, or the call is over."""
        self._waiting.clear()
        self._arrival.__exit__()

    def _decompress(self, message: Squeezed) -> None:
        work = asyncio.get_running_loop().run_in_executor(None, message.rest)
        work.add_done_callback(self._done)

    def _done(self, work: asyncio.Future[bytes]) -> None:
        """Hand on the message that a thread has decompressed, and those behind it up to the next large one."""
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        call, waiting = self._call, self._waiting
        if call.over:
            return
        if error is not None:
            call.give_up(error)
            return
        call.read_on(on=True)
        message: Body | Squeezed = work.result()
        try:
            while not isinstance(message, Squeezed):
                call.hand_on(message)
                if call.over:
                    return
                if not waiting:
                    call.all_handed_on()
                    return
                message = waiting.popleft()
        except Exception as wrong:  # noqa: BLE001  (the client is owed a status, whatever broke)
            call.give_up(wrong)
            return
        call.read_on(on=False)
        self._decompress(message)
