"""ClosedStreams: the streams that have ended here while the client may still be sending on them.

A stream whose answer was given before its body had come lingers for a while: the client may go on and is not held back,
because some clients read their answer only once they have sent all. Then, or when it has sent too much, the stream is
reset with NO_ERROR. A stream that was reset is ignored: its late frames are not held against the client.
"""

from __future__ import annotations

from .errors import ErrorCode
from .frames import rst_stream, window_update
from .outbox import Outbox

_MOST = 256  # streams of either kind; the oldest are forgotten first
_MOST_BYTES = 16 * 1024 * 1024  # of a body that nobody needs


class ClosedStreams:
    """The streams of one connection that the client may still send on. Each lingers for `linger` seconds."""

    __slots__ = ("_ignored", "_linger", "_lingering", "_outbox")

    def __init__(self, outbox: Outbox, linger: float) -> None:
        self._outbox = outbox
        self._linger = linger
        self._ignored: dict[int, None] = {}
        self._lingering: dict[int, tuple[float, int]] = {}  # until when, and for how many bytes

    def __contains__(self, stream_id: int) -> bool:
        return stream_id in self._ignored or stream_id in self._lingering

    @property
    def lingering(self) -> bool:
        """Whether a client may still be sending what nobody needs, and is to see its answer."""
        return bool(self._lingering)

    def ignore(self, stream_id: int) -> None:
        """Take a stream that was reset by us."""
        self._ignored[stream_id] = None
        if len(self._ignored) > _MOST:
            del self._ignored[next(iter(self._ignored))]

    def linger(self, stream_id: int, now: float) -> None:
        """Take a stream that has its whole answer."""
        self._lingering[stream_id] = (now + self._linger, _MOST_BYTES)
        if len(self._lingering) > _MOST:
            self._reset(next(iter(self._lingering)))

    def data_came(self, stream_id: int, length: int) -> bool:
        """Take DATA, of which nothing is kept. Return whether the stream was known."""
        found = self._lingering.get(stream_id)
        if found is None:
            return stream_id in self._ignored
        until, left = found
        if length > left:
            self._reset(stream_id)
        elif length:
            self._lingering[stream_id] = (until, left - length)
            self._outbox.put(window_update(stream_id, length))
        return True

    def end(self, stream_id: int) -> None:
        """Forget a stream that the client has ended or reset."""
        _ = self._lingering.pop(stream_id, None)

    def look(self, now: float) -> None:
        """Reset the streams that have had their time."""
        for stream_id, (until, _) in list(self._lingering.items()):
            if now < until:
                break
            self._reset(stream_id)

    def _reset(self, stream_id: int) -> None:
        del self._lingering[stream_id]
        self._outbox.put(rst_stream(stream_id, ErrorCode.NO_ERROR))
        self.ignore(stream_id)
