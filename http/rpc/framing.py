"""MessageReader: puts the messages of a call together, from pieces of its body that begin and end anywhere.

A message is a byte (1: compressed), its length in four bytes, and the message. Most calls have one, in one DATA frame:
that one becomes a view, and is not copied.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

from ...core.errors import BadRequest, TooLarge
from ...core.payload import Body
from .status import Code, RpcFailure

_PREFIX = 5  # bytes
CODINGS = {"gzip": 31, "deflate": 15}  # compressions of messages -> window bits that say so

# Makes one buffer of the pieces of a message, whose size is given, too.
Join = Callable[[Sequence[memoryview], int], Body]


def joined(pieces: Sequence[memoryview], _size: int) -> Body:
    """Return these pieces as one."""
    return b"".join(pieces)


class MessageReader:
    """A reader of messages of at most `limit` bytes. `coding`: how those that are compressed are, "" if none may be.

    `held` is how many bytes of a message that is not whole have come.
    """

    __slots__ = ("_coding", "_join", "_limit", "_need", "_pieces", "_prefix", "_squeezed", "held")

    def __init__(self, limit: int, *, coding: str = "", join: Join = joined) -> None:
        self._limit = limit
        self._coding = coding
        self._join = join
        self._prefix = b""
        self._pieces: list[memoryview] = []
        self._need = -1  # bytes that the message still lacks; below 0 its prefix is not whole
        self._squeezed = False
        self.held = 0

    @property
    def unfinished(self) -> bool:
        """Whether a message has begun and is not whole."""
        return self._need >= 0 or bool(self._prefix)

    def feed(self, data: Body) -> list[Body]:
        """Take the next piece, and return the messages that are whole now. Raises TooLarge, BadRequest, RpcFailure."""
        left = memoryview(data)
        if self._need < 0 and not self._prefix and len(left) > _PREFIX and not left[0]:
            size = int.from_bytes(left[1:_PREFIX])
            if size == len(left) - _PREFIX and size <= self._limit:  # the usual: one message, whole, by itself
                return [left[_PREFIX:]]
        found: list[Body] = []
        while left.nbytes:
            if self._need < 0:
                missing = _PREFIX - len(self._prefix)
                self._prefix += bytes(left[:missing])
                left = left[missing:]
                if len(self._prefix) < _PREFIX:
                    break
                self._begin()
            if self._need and left.nbytes:
                piece = left[: self._need]
                left = left[len(piece) :]
                self._pieces.append(piece)
                self._need -= len(piece)
                self.held += len(piece)
            if not self._need:
                found.append(self._finish())
        return found

    def _begin(self) -> None:
        flag, self._need = self._prefix[0], int.from_bytes(self._prefix[1:])
        self._prefix = b""
        if flag > 1 or (flag and not self._coding):
            raise RpcFailure(Code.INTERNAL, "A message says that it is compressed, and the call does not say how.")
        self._squeezed = flag == 1
        if self._need > self._limit:
            raise too_large(self._need, self._limit)

    def _finish(self) -> Body:
        pieces, size = self._pieces, self.held
        self._pieces, self._need, self.held = [], -1, 0
        if self._squeezed:
            return _unzipped(b"".join(pieces), self._limit, self._coding)
        return (pieces[0] if pieces else b"") if len(pieces) < 2 else self._join(pieces, size)


def frame(size: int) -> bytes:
    """Return what goes before a message of `size` bytes."""
    return b"\0" + size.to_bytes(4)


def too_large(size: int, limit: int) -> TooLarge:
    """Return the error for a message of `size` bytes."""
    return TooLarge(f"The message has {size} bytes and at most {limit} are accepted (max_request_size).")


def _unzipped(data: bytes, limit: int, coding: str) -> bytes:
    reader = zlib.decompressobj(CODINGS[coding])
    try:
        made = reader.decompress(data, limit + 1)
    except zlib.error:
        made = b""
    if len(made) > limit:
        raise TooLarge(f"The compressed message has more than the {limit} bytes that are accepted (max_request_size).")
    if not reader.eof or reader.unused_data:
        raise BadRequest(f"The compressed message is not {coding}.")
    return made
