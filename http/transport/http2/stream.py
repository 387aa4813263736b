"""The seam between an HTTP/2 connection and what is served on it: RequestHead, Stream and StreamHandler.

An Application is called once for each request whose head is whole and well-formed, and returns the handler that gets
the rest of the request. The handler answers on the Stream that the application was given, at once or at any later time:

    send_headers ── send ── … ── send ── send_trailers        or `end=True` on the last call; `reset` at any time

Nothing here awaits, and all of it runs on the event loop. What is sent within one turn of the loop, on all streams of a
connection, leaves in one write. After the stream has ended on our side, or `aborted` was called, further calls of the
stream do nothing, so that a worker's late answer needs no care.

A request whose head and body have come together has its body in `Stream.whole` when the application is called. An
application that takes it sets `whole` to None, and its handler is told neither of the body nor of its end, and gives
nothing back; else the handler gets both as ever.

A call of the application, or of a handler, that raises resets its stream with INTERNAL_ERROR and is logged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from ....core.payload import Body
from .errors import ErrorCode, StreamAborted
from .frames import AnswerFrames

# Names and values of header fields in order. A name must be in lower case, neither may have control characters.
Fields: TypeAlias = Sequence[tuple[str | bytes, str | bytes]]


class RequestHead:
    """The head of a request. Requests of a connection with the same header block share one, so it must not be changed.

    `fields` are the header fields as they came, without the pseudo-headers, and `headers` are the same by name: the
    values of a name that came several times are joined with ", " (of cookies with "; "). Names are in lower case, and
    text is Latin-1 of the bytes that came. `length` is the declared content-length, or None. `path` has the query, and
    is percent-encoded as it came. `memo` is the application's: a place for what it has read in this head, which it
    finds again when the next request with the same head comes. `like` is a head that differs in `grpc-timeout` alone,
    where one came before.
    """

    __slots__ = ("authority", "fields", "headers", "length", "like", "memo", "method", "path", "scheme")

    def __init__(
        self,
        pseudo: Mapping[str, str],
        fields: tuple[tuple[str, str], ...],
        length: int | None,
    ) -> None:
        self.method = pseudo[":method"]
        self.path = pseudo[":path"]
        self.scheme = pseudo[":scheme"]
        self.fields = fields
        self.headers = joined(fields)
        self.authority = pseudo.get(":authority") or self.headers.get("host", "")
        self.length = length
        self.memo: Any = None
        self.like: RequestHead | None = None

    def with_value(self, at: int, value: str) -> RequestHead:
        """Return this head with another value of the field `at`, whose name no other field has."""
        made = RequestHead.__new__(RequestHead)  # which takes a tenth of copy.copy
        made.method, made.path, made.scheme, made.authority = self.method, self.path, self.scheme, self.authority
        made.length = self.length
        name, _ = self.fields[at]
        made.fields = (*self.fields[:at], (name, value), *self.fields[at + 1 :])
        made.headers = {**self.headers, name: value}
        made.memo, made.like = None, self
        return made


class StreamHandler(Protocol):
    """An interface for what serves one request: the connection calls it as the request comes in.

    `data_received` may come any number of times, then `ended` once; `aborted` may come at any time, and is the last
    call. All calls come from the event loop, some of them from within calls of the stream.
    """

    def data_received(self, data: Body) -> None:
        """Take the next piece of the request's body. It stays valid, and is not changed, for as long as it is kept.

        The client may send 1 MiB (`Http2Limits.stream_window`) that was not given back by `Stream.consumed`.
        """

    def ended(self, trailers: Fields) -> None:
        """Note that the client has sent everything: the body is whole. `trailers` are () where there were none."""

    def aborted(self, error: StreamAborted) -> None:
        """Note that the client has reset the stream, or is gone: nothing may be sent any more."""

    def writable(self) -> None:
        """Note that the client has room again, after `Stream.full` was True."""


class Stream(Protocol):
    """An interface for the answer to one request, and for what the handler may ask of its connection."""

    id: int
    head: RequestHead
    peer: object  # the client's address as text, `127.0.0.1:51234`
    queued: int  # bytes of the answer's body that wait under flow control
    remote_ended: bool  # whether the client has sent everything, for all that the handler has yet to be told of it
    whole: Body | None  # all of the body, where it came together with the head

    def send_headers(self, headers: Fields | bytes, *, end: bool = False) -> None:
        """Begin the answer: `:status` first, then the other fields; or bytes that `encode_block` has made of those.

        `encode_block` is in header_block.py; encode once what does not change between answers.
        """
        ...

    def send(self, buffers: tuple[Body, ...], *, end: bool = False) -> None:
        """Send a piece of the body. It waits under flow control as long as it has to; large buffers are not copied.

        The buffers must not be changed afterwards.
        """
        ...

    def send_trailers(self, trailers: Fields | bytes) -> None:
        """End the answer with these fields, behind all of the body; or with bytes of `encode_block`.

        Without `send_headers` before, it is the answer's only header block, so that `:status` belongs to it.
        """
        ...

    def send_answer(self, frames: AnswerFrames, buffers: tuple[Body, ...], size: int) -> None:
        """Send a whole answer whose body has `size` bytes: what `send_headers`, `send` and `send_trailers` do, for less
        where nothing has to wait.
        """
        ...

    def reset(self, code: ErrorCode) -> None:
        """End the stream at once with RST_STREAM, whatever waits to be sent. The handler gets no further call."""
        ...

    def consumed(self, size: int) -> None:
        """Let the client send `size` bytes more. To be called as the body is taken, for each byte of it once."""
        ...

    @property
    def full(self) -> bool:
        """Whether more bytes wait for the client than a streamed answer may be ahead of it. Ask after each `send`.

        Then nothing more should be sent until the handler's `writable` is called.
        """
        ...

    @property
    def ended(self) -> bool:
        """Whether the answer has ended, or can't be given any more: sending does nothing then."""
        ...

    @property
    def draining(self) -> bool:
        """Whether the connection ends once its streams have: a stream that could go on for ever should end soon."""
        ...


Application: TypeAlias = Callable[[Stream], StreamHandler]


def joined(fields: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return fields by name, with the values of one name joined as RFC 9110 and RFC 9113 say."""
    found: dict[str, str] = {}
    for name, value in fields:
        before = found.get(name)
        found[name] = value if before is None else f"{before}{'; ' if name == 'cookie' else ', '}{value}"
    return found
