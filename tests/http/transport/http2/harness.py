"""A Connection without sockets: frames in by hand, frames out as tuples, and handlers that record what they are called with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from torchserve.core.payload import Body
from torchserve.http.message.limits import Http2Limits, Limits
from torchserve.http.transport.http2 import frames
from torchserve.http.transport.http2.connection import Connection
from torchserve.http.transport.http2.errors import ErrorCode, StreamAborted
from torchserve.http.transport.http2.frames import frame
from torchserve.http.transport.http2.header_block import encode_block
from torchserve.http.transport.http2.stream import Fields, Stream

REQUEST = ((":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "here"))
ANSWER = ((":status", "200"),)


class Frame(NamedTuple):
    """A frame that the server has sent."""

    kind: int
    flags: int
    stream: int
    payload: bytes

    @property
    def code(self) -> ErrorCode:
        """The error code of RST_STREAM or GOAWAY."""
        at = 4 if self.kind == frames.GOAWAY else 0
        return ErrorCode(int.from_bytes(self.payload[at : at + 4], "big"))


def cut(data: bytes) -> list[Frame]:
    """Return the frames of bytes that end with a frame."""
    found: list[Frame] = []
    at = 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 3], "big")
        begin = at + 9
        stream = int.from_bytes(data[at + 5 : begin], "big")
        assert begin + length <= len(data)
        found.append(Frame(data[at + 3], data[at + 4], stream, data[begin : begin + length]))
        at = begin + length
    return found


@dataclass
class Recorder:
    """A handler that writes down what it is called with, takes all of the body, and answers when a test tells it to."""

    stream: Stream
    body: bytes = b""
    trailers: Fields | None = None
    aborted_by: StreamAborted | None = None
    writables: int = 0
    take: bool = True
    calls: list[str] = field(default_factory=list[str])

    def data_received(self, data: Body) -> None:
        self.calls.append("data")
        self.body += bytes(data)
        if self.take:
            self.stream.consumed(len(data))

    def ended(self, trailers: Fields) -> None:
        self.calls.append("ended")
        self.trailers = trailers

    def aborted(self, error: StreamAborted) -> None:
        self.calls.append("aborted")
        self.aborted_by = error

    def writable(self) -> None:
        self.writables += 1

    def answer(self, body: bytes = b"") -> None:
        """Answer in full."""
        self.stream.send_headers(ANSWER, end=not body)
        if body:
            self.stream.send((body,), end=True)


class Harness:
    """A connection, the frames that it has sent, and the handlers of its streams by id."""

    def __init__(self, limits: Limits | None = None, *, begin: bool = True, **http2: float) -> None:
        made = Http2Limits(**http2)  # type: ignore[arg-type]
        base = limits or Limits()
        self.now = 0.0
        self.woken = 0
        self.refused: list[tuple[int, str]] = []
        self.handlers: dict[int, Recorder] = {}
        self.make: Callable[[Stream], Recorder] = Recorder
        self.sent: list[Frame] = []
        self.connection = Connection(
            _with(base, made), self._application, self._wake, lambda status, why: self.refused.append((status, why))
        )
        if begin:
            self.say(frames.PREFACE, frame(frames.SETTINGS, 0, 0))
            self.sent.clear()

    def _wake(self) -> None:
        self.woken += 1

    def _application(self, stream: Stream) -> Recorder:
        made = self.handlers[stream.id] = self.make(stream)
        return made

    def say(self, *pieces: bytes) -> list[Frame]:
        """Send bytes in one packet, and return the frames that come back."""
        self.connection.receive(b"".join(pieces), self.now)
        while self.connection.more:
            self.connection.receive(b"", self.now)
        return self.out()

    def out(self) -> list[Frame]:
        """Return the frames that the server has sent since."""
        outbox = self.connection.outbox
        while outbox.pump():
            pass
        found = cut(b"".join(outbox.take()))
        self.sent += found
        return found

    def look(self, seconds: float) -> list[Frame]:
        """Let time pass, and return the frames that come of it."""
        self.now += seconds
        self.connection.look(self.now)
        return self.out()

    def request(self, stream: int = 1, *fields: tuple[str, str], end: bool = True, base: Fields = REQUEST) -> Recorder:
        """Send a request's head, and return its handler."""
        self.say(headers(stream, *base, *fields, end=end))
        return self.handlers[stream]

    @property
    def goaway(self) -> ErrorCode | None:
        """The code that the server has ended the connection with, or None."""
        codes = [each.code for each in self.sent if each.kind == frames.GOAWAY]
        return codes[-1] if codes else None


def _with(limits: Limits, http2: Http2Limits) -> Limits:
    values = {name: getattr(limits, name) for name in Limits.__dataclass_fields__}
    return Limits(**{**values, "http2": http2})


def headers(stream: int, *fields: tuple[str, str], end: bool = True, flags: int = frames.END_HEADERS) -> bytes:
    """Return HEADERS with these fields."""
    return frame(frames.HEADERS, flags | (frames.END_STREAM if end else 0), stream, encode_block(fields))


def data(stream: int, body: bytes, *, end: bool = False) -> bytes:
    """Return DATA."""
    return frame(frames.DATA, frames.END_STREAM if end else 0, stream, body)


def number(value: int, size: int = 4) -> bytes:
    """Return a number as it stands in a payload."""
    return value.to_bytes(size, "big")


def setting(name: int, value: int) -> bytes:
    """Return SETTINGS with one value."""
    return frame(frames.SETTINGS, 0, 0, number(name, 2) + number(value))


def only(found: list[Frame], kind: int) -> Frame:
    """Return the one frame of this kind."""
    (frame_of_kind,) = [each for each in found if each.kind == kind]
    return frame_of_kind
