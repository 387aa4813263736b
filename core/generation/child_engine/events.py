"""EventCutter: cuts a stream of server-sent events behind whole events, so that one of ours can follow at any time.

The events are not read. An engine that dies leaves half of one, which would make the error event behind it unreadable.
"""

from __future__ import annotations

from .http_answer import BadAnswer

_ENDS = (b"\n\n", b"\r\n\r\n")


class EventCutter:
    """A buffer of what is not yet a whole event, at most `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = b""

    def cut(self, piece: bytes) -> bytes:
        """Return all that is whole, b"" if nothing is. Raises BadAnswer for an event of more than `most` bytes."""
        data = self._rest + piece if self._rest else piece
        end = max(data.rfind(mark) + len(mark) if mark in data else 0 for mark in _ENDS)
        self._rest = data[end:]
        if len(self._rest) > self._most:
            raise BadAnswer(f"sent an event of more than {self._most} bytes")
        return data[:end] if end < len(data) else data

    def rest(self) -> bytes:
        """Return what is left at the end of the stream, with an empty line behind it if there is anything."""
        rest, self._rest = self._rest, b""
        return b"%b\n\n" % rest.rstrip(b"\r\n") if rest.strip(b"\r\n") else b""
