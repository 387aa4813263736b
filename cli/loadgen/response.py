"""A parser of HTTP/1.1 responses.

Bodies may have a Content-Length, be chunked, or end with the connection. No I/O. It does less than h11, for speed: the
generator's processor time is taken from the server that it measures.
"""

from __future__ import annotations

from .checks import shortened

_HEAD_MOST = 65536
_NO_BODY = frozenset({204, 304})


class BadResponse(ValueError):
    """An error for bytes that are no HTTP/1.1 response."""


class Response:
    """A response that is parsed from bytes as they come.

    `chunks` is the number of chunks of a chunked body so far. `keep` says whether the connection can be used again.
    """

    __slots__ = ("_body", "_chunk", "_left", "_need", "body", "chunks", "keep", "status", "streamed", "to_end")

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Prepare for the next response on the same connection."""
        self.status = 0
        self.body = b""
        self.keep = True
        self.chunks = 0
        self.streamed = False
        self.to_end = False
        self._left = b""  # bytes of an incomplete head or chunk
        self._body: list[bytes] | None = None
        self._need = 0
        self._chunk = -1  # size of the current chunk; -1: its size line is next, -2: trailers are next

    @property
    def cause(self) -> str:
        """Return the status and the start of the body, for a request that failed."""
        return f"{self.status} {shortened(self.body)}"

    def feed(self, data: bytes) -> bool:
        """Parse `data` and return whether the response is complete. Raises BadResponse, also for bytes behind the
        response's end.
        """
        if self._body is not None:
            return self._more(data)
        if self._left:
            data = self._left + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if len(data) > _HEAD_MOST:
                raise BadResponse(f"no end of the headers in {len(data)} bytes")
            self._left = data
            return False
        self._left = b""
        self._head(data[: end + 2])
        rest = data[end + 4 :]
        if 100 <= self.status < 200:
            self.reset()
            return self.feed(rest) if rest else False
        if not self.streamed and not self.to_end:
            if len(rest) == self._need:
                self.body = rest
                return True
            if len(rest) > self._need:
                raise BadResponse(f"{len(rest)} bytes of body where {self._need} were announced")
        self._body = []
        return self._more(rest) if rest else False

    def close(self) -> bool:
        """Note the end of the connection and return whether that completes the response."""
        if self.to_end and self._body is not None:
            self.body = b"".join(self._body)
            return True
        return False

    def _head(self, head: bytes) -> None:
        if not head.startswith(b"HTTP/1.") or not head[9:12].isdigit():
            raise BadResponse(f"{head[:60]!r} is no status line of HTTP/1.1")
        self.status = int(head[9:12])
        lower = head.lower()
        self.keep = b"\r\nconnection: close" not in lower and head[7:8] == b"1"
        place = lower.find(b"\r\ncontent-length:")
        if place >= 0:
            text = lower[place + 17 : lower.find(b"\r\n", place + 17)].strip()
            if not text.isdigit():
                raise BadResponse(f"Content-Length {text!r} is no number")
            self._need = int(text)
        elif b"\r\ntransfer-encoding: chunked" in lower or b"\r\ntransfer-encoding:chunked" in lower:
            self.streamed = True
        elif self.status not in _NO_BODY and self.status >= 200:
            self.to_end, self.keep = True, False

    def _more(self, data: bytes) -> bool:
        assert self._body is not None
        if self.streamed:
            return self._chunked(data)
        self._body.append(data)
        if self.to_end:
            return False
        self._need -= len(data)
        if self._need < 0:
            raise BadResponse(f"{-self._need} bytes more of body than were announced")
        if self._need:
            return False
        self.body = b"".join(self._body)
        return True

    def _chunked(self, data: bytes) -> bool:
        assert self._body is not None
        data, self._left = self._left + data, b""
        while data:
            if self._chunk >= 0:
                if len(data) < self._chunk + 2:
                    break
                if data[self._chunk : self._chunk + 2] != b"\r\n":
                    raise BadResponse("a chunk is longer than its size says")
                self._body.append(data[: self._chunk])
                data, self._chunk = data[self._chunk + 2 :], -1
                self.chunks += 1
                continue
            line, found, rest = data.partition(b"\r\n")
            if not found:
                break
            data = rest
            if self._chunk == -2:
                if line:
                    continue
                if data:
                    raise BadResponse(f"{len(data)} bytes after the last chunk")
                self.body = b"".join(self._body)
                return True
            self._chunk = _size(line) or -2
        self._left = data
        return False


def _size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    try:
        if digits.isalnum():
            return int(digits, 16)
    except ValueError:
        pass
    raise BadResponse(f"{line[:60]!r} is no size of a chunk")
