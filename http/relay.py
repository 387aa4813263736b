"""Relay: what an acceptor process and the main process say to each other, and the link that they say it over.

All that one turn of the event loop has to say goes into one frame, and so into one system call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar, cast

import msgspec

from ..core.wire.frames import FrameReader, encode

if TYPE_CHECKING:
    from ..core.payload import Body

M = TypeVar("M")

_NO_BOUND = 1 << 40  # both ends are ours; what a request or an answer may have is bounded before it gets here
# (name, content type, body) of a part of a request; bodies may be any buffer here, and arrive as bytes.
Row: TypeAlias = tuple[str, str, bytes]
# An Entry of the access log behind the number of the request that succeeded; 0 if none did.
Booked: TypeAlias = tuple[int, float, str, str, str, int, float, bool, str]


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The numbers of requests and arrivals are the acceptor's own."""


# ---- to the main process


class Ready(Message, frozen=True, tag=0):
    """It listens."""


class Learn(Message, frozen=True, tag=1):
    """What all requests of one head have in common; Submit refers to it by its number."""

    head: int
    model: str
    version: str | None
    headers: dict[str, str]
    timeout: float | None
    priority: int


class Forget(Message, frozen=True, tag=2):
    """No head that was learnt will be referred to again."""


class Submit(Message, frozen=True, tag=3):
    """A whole request."""

    number: int
    head: int
    request_id: str
    parts: tuple[Row, ...]


class Expect(Message, frozen=True, tag=4):
    """A body is on its way."""

    number: int
    model: str
    version: str | None


class Retract(Message, frozen=True, tag=5):
    """It is here, or won't come any more."""

    number: int


class Cancel(Message, frozen=True, tag=6):
    """The client has gone."""

    number: int


class Unsendable(Message, frozen=True, tag=7):
    """The handler's answer could not be sent."""

    number: int
    why: str


class Book(Message, frozen=True, tag=8):
    """A request has had its answer."""

    entry: Booked


class Handed(Message, frozen=True, tag=9):
    """A connection whose descriptor was sent before this, and what its client has said there."""

    data: bytes


class Busy(Message, frozen=True, tag=10):
    """Whether there are requests without an answer; said while it drains."""

    busy: bool


class Holds(Message, frozen=True, tag=11):
    """The keys are taken over."""


class Told(Message, frozen=True, tag=12):
    """A line for the log."""

    level: int
    name: str
    text: str


ToMain: TypeAlias = (
    Ready | Learn | Forget | Submit | Expect | Retract | Cancel | Unsendable | Book | Handed | Busy | Holds | Told
)


# ---- to the acceptor


class SetUp(Message, frozen=True, tag=0):
    """How to serve. `limits` are those of Limits by name, `fields` the letterhead's first."""

    limits: dict[str, float]
    decode_input: bool
    scheduling_headers: bool
    fields: tuple[tuple[str, str], ...]


class Keys(Message, frozen=True, tag=1):
    """What opens predictions from now on: (kind, key, when it expires)."""

    life: float
    keys: tuple[tuple[str, str, float | None], ...]
    challenge: bool


class Plain(Message, frozen=True, tag=2):
    """The whole answer or the last chunk of one, if it is nothing but a body."""

    number: int
    body: bytes


class Answer(Message, frozen=True, tag=3):
    """The same, or a chunk, with all that a Reply may have and how it was scheduled."""

    number: int
    last: bool
    body: bytes
    status: int
    phrase: str
    content_type: str | None
    headers: tuple[tuple[str, str], ...]
    scheduled: tuple[float, int, str, str, str, float | None] | None


class Broke(Message, frozen=True, tag=4):
    """A streamed answer ended with an error."""

    number: int
    why: str


class Refused(Message, frozen=True, tag=5):
    """There is no such model, or no such version of it, as Expect named."""

    number: int
    version: bool


class Drain(Message, frozen=True, tag=6):
    """Accept no new connection; say whether there is work left."""


class Stop(Message, frozen=True, tag=7):
    """Close all connections and end."""


ToAcceptor: TypeAlias = SetUp | Keys | Plain | Answer | Broke | Refused | Drain | Stop


class Frame(msgspec.Struct, Generic[M], frozen=True, array_like=True):
    """All messages of one turn."""

    messages: list[M]


class Link(asyncio.BufferedProtocol, Generic[M]):
    """One end. `take` gets each message that arrives, `lost` is called once at the end of the stream."""

    def __init__(self, kind: object, take: Callable[[M], None], lost: Callable[[], None]) -> None:
        self._reader: FrameReader[Frame[M]] = FrameReader(Frame[kind], _NO_BOUND)
        self._take = take
        self._lost = lost
        self._unsaid: list[Message] = []
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()

    def say(self, message: Message) -> None:
        self._unsaid.append(message)
        if len(self._unsaid) == 1:
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        """When all that was said is sent."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._lost()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._reader.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        self._reader.buffer_updated(nbytes)
        while (frame := self._reader.next_frame()) is not None:
            for message in frame.message.messages:
                self._take(message)

    def _flush(self) -> None:
        said, self._unsaid = self._unsaid, []
        if said and self._transport is not None:
            buffers: list[Body] = encode(Frame(said))
            self._transport.writelines(buffers)
