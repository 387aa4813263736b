"""MessageReader: puts the messages of a call together, from pieces of its body that begin and end anywhere.

A message is a byte (1: compressed), its length in four bytes, and the message. Most calls have one, in one DATA frame:
that one becomes a view, and is not copied.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

from ...core.errors import BadRequest, TooLarge
from ...core.payload import Body
from .status import Code, RpcFailure

PREFIX = 5  # bytes before a message
_BEGINNING = 16 * 1024  # bytes of a message, or half of it, that tell where it is to be
_AT_ONCE = 64 * 1024  # bytes that are decompressed on the event loop: 0.2 ms
CODINGS = {"gzip": 31, "deflate": 15}  # compressions of messages -> window bits that say so

# Returns memory for a message that begins with these bytes and has this size in all, None if there is none for it.
Room = Callable[[memoryview, int], "memoryview | None"]


def no_room(_beginning: memoryview, _size: int) -> None:
    """Return None: a message may be anywhere."""


class Squeezed:
    """A compressed message of `size` bytes, which may become `limit` bytes.

    What it begins with is decompressed at once, and `rest` is for a thread, where that was not all of it.
    """

    __slots__ = ("_coding", "_engine", "_left", "_limit", "_made", "size")

    def __init__(self, data: bytes, limit: int, coding: str) -> None:
        self.size = len(data)
        self._left = data
        self._limit = limit
        self._coding = coding
        self._engine = zlib.decompressobj(CODINGS[coding])
        self._made = b""

    def begun(self) -> bytes | Squeezed:
        """Return the message if it is short, else this object. Raises TooLarge, BadRequest."""
        self._made = self._more(_AT_ONCE)
        return self._whole() if self._engine.eof or len(self._made) < _AT_ONCE else self

    def rest(self) -> bytes:
        """Return the message. Raises TooLarge, BadRequest."""
        more = self._more(self._limit)
        self._made = b"".join((self._made, more))
        return self._whole()

    def _more(self, most: int) -> bytes:
        """Decompress about `most` more bytes, and no more than the limit lets pass. Raises TooLarge, BadRequest."""
        room = self._limit - len(self._made) + 1
        try:
            made = self._engine.decompress(self._left, min(most, room))
        except zlib.error:
            raise self._wrong() from None
        self._left = self._engine.unconsumed_tail
        if len(made) >= room:
            raise TooLarge(
                f"The compressed message has more than the {self._limit} bytes that are accepted (max_request_size)."
            )
        return made

    def _whole(self) -> bytes:
        if not self._engine.eof or self._engine.unused_data:
            raise self._wrong()
        return self._made

    def _wrong(self) -> BadRequest:
        return BadRequest(f"The compressed message is not {self._coding}.")


class MessageReader:
    """A reader of messages of at most `limit` bytes. `coding`: how those that are compressed are, "" if none may be.

    A message that comes in pieces is put into the memory that `room` returns once enough of its beginning has come.
    Pieces are copied there as they come, while the processor has them in its cache. `held` is how many bytes of a
    message that is not whole have come.
    """

    __slots__ = (
        "_asked", "_coding", "_limit", "_need", "_pieces", "_place", "_prefix", "_room", "_squeezed", "held",
    )  # fmt: skip

    def __init__(self, limit: int, *, coding: str = "", room: Room = no_room) -> None:
        self._limit = limit
        self._coding = coding
        self._room = room
        self._place: memoryview | None = None
        self._asked = False  # for a place for this message
        self._prefix = b""
        self._pieces: list[memoryview] = []
        self._need = -1  # bytes that the message still lacks; below 0 its prefix is not whole
        self._squeezed = False
        self.held = 0

    @property
    def unfinished(self) -> bool:
        """Whether a message has begun and is not whole."""
        return self._need >= 0 or bool(self._prefix)

    def feed(self, data: Body) -> list[Body | Squeezed]:
        """Take the next piece, and return the messages that are whole now. Raises TooLarge, BadRequest, RpcFailure."""
        if self._need < 0 and not self._prefix:
            only = only_message(data, self._limit)
            if only is not None:
                return [only]
        left = memoryview(data)
        found: list[Body | Squeezed] = []
        while left.nbytes:
            if self._need < 0:
                missing = PREFIX - len(self._prefix)
                self._prefix += bytes(left[:missing])
                left = left[missing:]
                if len(self._prefix) < PREFIX:
                    break
                self._begin()
            if self._need and left.nbytes:
                piece = left[: self._need]
                left = left[len(piece) :]
                self._keep(piece)
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

    def _keep(self, piece: memoryview) -> None:
        """Keep a piece of a message, where that is to be if it is known."""
        size = len(piece)
        if self._place is not None:
            self._place[self.held : self.held + size] = piece
        else:
            self._pieces.append(piece)
        self._need -= size
        self.held += size
        if self._need and not self._asked and (self.held >= _BEGINNING or self.held >= self._need):
            self._asked = True
            if not self._squeezed:
                self._move()

    def _move(self) -> None:
        """Put what has come of a message where it is to be, if there is memory for it."""
        pieces = self._pieces
        beginning = pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces))
        place = self._room(beginning, self.held + self._need)
        if place is not None:
            place[: self.held] = beginning
            self._place, self._pieces = place, []

    def _finish(self) -> Body | Squeezed:
        pieces, place = self._pieces, self._place
        self._pieces, self._place, self._need, self.held, self._asked = [], None, -1, 0, False
        if place is not None:
            return place
        if self._squeezed:
            return Squeezed(b"".join(pieces), self._limit, self._coding).begun()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def only_message(data: Body, limit: int) -> memoryview | None:
    """Return the message that these bytes are, if they are one that is whole, not empty, not compressed and within the
    limit.
    """
    size = len(data) - PREFIX
    if not 0 < size <= limit or data[0] or int.from_bytes(data[1:PREFIX]) != size:
        return None
    return memoryview(data)[PREFIX:]


def frame(size: int) -> bytes:
    """Return what goes before a message of `size` bytes."""
    return b"\0" + size.to_bytes(4)


def too_large(size: int, limit: int) -> TooLarge:
    """Return the error for a message of `size` bytes."""
    return TooLarge(f"The message has {size} bytes and at most {limit} are accepted (max_request_size).")
