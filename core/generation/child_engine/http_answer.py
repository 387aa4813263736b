"""AnswerReader: an HTTP/1.1 answer from bytes, without a socket, and within bounds whatever the engine sends.

A connection serves one request, so nothing may follow the answer; what does is not read.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MOST_HEAD = 64 * 1024  # bytes of a status line and its headers
_MOST_LINE = 1024  # bytes of a line with a chunk's size
_MOST_INTERIM = 8  # answers of 100 to 199 before the real one
_MOST_DIGITS = 15
_HEX = frozenset(b"0123456789abcdefABCDEF")


class BadAnswer(Exception):
    """An answer that is no HTTP, or over a bound. The text is one line that goes on "the engine …"."""


@dataclass(frozen=True, slots=True)
class AnswerHead:
    """The status of an answer, and its headers under lower-case names; of a repeated one the last counts."""

    status: int
    headers: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "")


class AnswerReader:
    """A reader of one answer. `head` is None until it is whole, and `done` is True at the end of the body."""

    def __init__(self) -> None:
        self.head: AnswerHead | None = None
        self.done = False
        self._rest = b""
        self._interim = 0
        self._chunked = False
        self._left: int | None = None  # bytes to come of the body, or of the chunk; None: until the connection ends
        self._behind_chunk = False  # an empty line comes next
        self._trailing = False

    def feed(self, data: bytes) -> list[bytes]:
        """Take what has come, and return the pieces of the body in it. Raises BadAnswer."""
        if self.done:
            return []
        if self.head is None:
            self._rest += data
            if not self._read_head():
                return []
            data, self._rest = self._rest, b""
        if self._chunked:
            return self._read_chunks(data)
        if self._left is None:
            return [data] if data else []
        piece = data[: self._left]
        self._left -= len(piece)
        self.done = self._left == 0
        return [piece] if piece else []

    def end(self) -> None:
        """Take the end of the connection. Raises BadAnswer if the answer is not whole."""
        if self.done:
            return
        if self.head is None:
            raise BadAnswer("closed the connection before it answered")
        if self._chunked or self._left is not None:
            raise BadAnswer("closed the connection in the middle of an answer")
        self.done = True

    def _read_head(self) -> bool:
        """Read the head if it is whole, and leave what follows it in `_rest`."""
        while True:
            text, found, rest = self._rest.partition(b"\r\n\r\n")
            if len(text) > MOST_HEAD:
                raise BadAnswer(f"sent a head of more than {MOST_HEAD} bytes")
            if not found:
                if not b"HTTP/1.".startswith(text[:7]):
                    raise BadAnswer(f"sent something that is no HTTP/1: {_shown(text)}")
                return False
            head = _parse_head(text)
            self._rest = rest
            if head.status >= 200:
                break
            self._interim += 1
            if head.status == 101 or self._interim > _MOST_INTERIM:
                raise BadAnswer(f"answered {head.status}, which was not asked for")
        self.head = head
        self._frame(head)
        return True

    def _frame(self, head: AnswerHead) -> None:
        coding = head.headers.get("transfer-encoding", "").strip().lower()
        length = head.headers.get("content-length")
        if coding not in ("", "chunked", "identity"):
            raise BadAnswer(f"sent a body in the transfer coding {_shown(coding.encode())}")
        self._chunked = coding == "chunked"
        if head.status in (204, 304):
            self._chunked, self._left = False, 0
        elif self._chunked:
            self._left = 0
        elif length is not None:
            if not (length.isascii() and length.isdigit() and len(length) <= _MOST_DIGITS):
                raise BadAnswer(f"sent the content-length {_shown(length.encode())}")
            self._left = int(length)
        self.done = not self._chunked and self._left == 0

    def _read_chunks(self, data: bytes) -> list[bytes]:
        pieces: list[bytes] = []
        data = self._rest + data if self._rest else data
        self._rest = b""
        at = 0
        while not self.done:
            if self._left:
                piece = data[at : at + self._left]
                if not piece:
                    break
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._behind_chunk = self._left == 0
                continue
            end = data.find(b"\n", at)
            line = data[at:] if end < 0 else data[at:end]
            if len(line) > _MOST_LINE:
                raise BadAnswer(f"sent a line of more than {_MOST_LINE} bytes between chunks")
            if end < 0:
                self._rest = line
                break
            at = end + 1
            self._between(line.removesuffix(b"\r"))
        return pieces

    def _between(self, line: bytes) -> None:
        """Take a line between chunks: the end of the last, the size of the next, or a trailer."""
        if self._trailing:
            self.done = not line
        elif self._behind_chunk:
            if line:
                raise BadAnswer(f"sent a chunk that is longer than it said: {_shown(line)}")
            self._behind_chunk = False
        else:
            size = line.partition(b";")[0].strip()
            if not size or len(size) > _MOST_DIGITS or not _HEX.issuperset(size):
                raise BadAnswer(f"sent the chunk size {_shown(line)}")
            self._left = int(size, 16)
            self._trailing = self._left == 0


def _parse_head(text: bytes) -> AnswerHead:
    first, *lines = text.split(b"\r\n")
    words = first.split(b" ", 2)
    if len(words) < 2 or words[0] not in (b"HTTP/1.1", b"HTTP/1.0") or not (len(words[1]) == 3 and words[1].isdigit()):
        raise BadAnswer(f"sent something that is no HTTP/1: {_shown(first)}")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name.strip() != name:
            raise BadAnswer(f"sent a header that is none: {_shown(line)}")
        headers[name.decode("latin-1").lower()] = value.strip().decode("latin-1")
    return AnswerHead(int(words[1]), headers)


def _shown(data: bytes) -> str:
    return repr(data[:60].decode("latin-1"))
