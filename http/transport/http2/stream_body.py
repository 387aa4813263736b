"""StreamBody: the body of one request on its way, in pieces or in memory shared with the model's workers."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import TYPE_CHECKING

from ....core.payload import Body
from ...message.limits import Limits
from ...predict.predict_request import check_size

if TYPE_CHECKING:
    from ....core.dataplane import Arrival


class StreamBody:
    """A body of `length` bytes, or of unknown length where it is None.

    A body that comes in one piece with its end takes nothing but that piece. For any other, `expect` returns the
    context that counts its memory and tells the model's batcher of it, and `room` may return memory for all of it;
    either may raise ServeError. `end` must be called in every case.
    """

    __slots__ = ("_arrival", "_began", "_expect", "_last", "_length", "_limits", "_pieces", "_room", "_shared", "size")

    def __init__(
        self,
        limits: Limits,
        length: int | None,
        expect: Callable[[], Arrival],
        room: Callable[[int], memoryview | None],
    ) -> None:
        self._limits = limits
        self._length = length
        self._expect = expect
        self._room = room
        self._arrival: Arrival | None = None
        self._shared: memoryview | None = None
        self._pieces: list[Body] = []
        self._began = self._last = monotonic()
        self.size = 0

    def take(self, piece: Body) -> None:
        """Take the next piece. Raises TooLarge, ServerFull, ModelNotFound, VersionNotFound."""
        begin = self.size
        self.size += len(piece)
        check_size(self.size, self._limits.max_request_size)
        if begin == 0 and self.size == self._length:
            self._pieces.append(piece)
            return
        self._last = monotonic()
        if self._arrival is None:
            self._begin()
        if self._arrival is not None:
            self._arrival.grow(len(piece))
        if self._shared is not None:
            self._shared[begin : self.size] = piece
        else:
            self._pieces.append(piece)

    def _begin(self) -> None:
        arrival = self._expect()
        if self._length is not None:
            self._shared = self._room(self._length)
        arrival.__enter__()
        self._arrival = arrival

    def whole(self) -> Body:
        """Return the whole body, and end its way."""
        self.end()
        pieces = self._pieces
        if self._shared is not None:
            return self._shared
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def end(self) -> None:
        """Note that nothing is on its way any more."""
        if self._arrival is not None:
            arrival, self._arrival = self._arrival, None
            arrival.__exit__(None, None, None)

    def late(self, now: float, idle: float) -> str | None:
        """Return why this body has taken too long, if it has; `idle` seconds may pass between two pieces of it."""
        spent = now - self._began
        too_slow = spent > self._limits.body_grace + self.size / self._limits.body_rate
        if now - self._last <= idle and not too_slow:
            return None
        of = "" if self._length is None else f" of {self._length}"
        return f"The request body came too slowly: {self.size}{of} bytes in {spent:.1f} s."
