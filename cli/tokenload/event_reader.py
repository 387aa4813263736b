"""EventReader: an HTTP/1.1 response of server-sent events, parsed as its bytes come. No I/O."""

from __future__ import annotations

_HEAD_MOST = 65536
_EVENT_MOST = 1 << 24


class BadStream(ValueError):
    """An error for bytes that are no HTTP/1.1 response."""


class EventReader:
    """A response. `status` is 0 until its head has come; a body that is no stream of events is in `body` at its end."""

    def __init__(self) -> None:
        self.status = 0
        self.complete = False
        self.keep = True
        self.body = b""
        self._raw = b""
        self._text = b""
        self._chunked = False
        self._left = -1  # bytes until the end of the body; -1: it ends with the connection
        self._chunk = 0  # bytes of the chunk that are still to come
        self._events = False

    def feed(self, data: bytes) -> list[bytes]:
        """Return the events that `data` completes, each without `data: `. Raises BadStream."""
        self._raw += data
        if not self.status and not self._head():
            return []
        content = self._dechunk() if self._chunked else self._plain()
        if not self._events:
            self.body += content
            return []
        self._text += content
        if len(self._text) > _EVENT_MOST:
            raise BadStream(f"an event without an end in {len(self._text)} bytes")
        *events, self._text = self._text.replace(b"\r\n", b"\n").split(b"\n\n")
        return [event[6:] for event in events if event.startswith(b"data: ")]

    def close(self) -> bool:
        """Note the end of the connection and return whether that completes the response."""
        self.complete = self.complete or (self.status > 0 and self._left < 0 and not self._chunked)
        return self.complete

    def _head(self) -> bool:
        head, found, rest = self._raw.partition(b"\r\n\r\n")
        if not found:
            if len(self._raw) > _HEAD_MOST:
                raise BadStream(f"no end of the headers in {len(self._raw)} bytes")
            return False
        lines = head.lower().split(b"\r\n")
        if not lines[0].startswith(b"http/1.") or not lines[0][9:12].isdigit():
            raise BadStream(f"{head[:60]!r} is no status line of HTTP/1.1")
        fields = {name: value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        self.status = int(lines[0][9:12])
        self.keep = fields.get(b"connection") != b"close"
        self._chunked = fields.get(b"transfer-encoding") == b"chunked"
        self._events = fields.get(b"content-type", b"").startswith(b"text/event-stream")
        length = fields.get(b"content-length", b"")
        self._left = int(length) if length.isdigit() else -1
        self._raw = rest
        return True

    def _plain(self) -> bytes:
        content, self._raw = self._raw, b""
        if self._left >= 0:
            self._left -= len(content)
            self.complete = self._left <= 0
        return content

    def _dechunk(self) -> bytes:
        found: list[bytes] = []
        while self._raw:
            if self._chunk:
                piece = self._raw[: self._chunk]
                found.append(piece)
                self._chunk -= len(piece)
                self._raw = self._raw[len(piece) :]
                continue
            line, end, rest = self._raw.removeprefix(b"\r\n").partition(b"\r\n")
            if not end:
                break
            try:
                self._chunk = int(line.partition(b";")[0], 16)
            except ValueError:
                raise BadStream(f"{line[:60]!r} is no size of a chunk") from None
            self._raw = rest
            if not self._chunk:
                self._raw = b""
                self.complete = True
        return b"".join(found)
