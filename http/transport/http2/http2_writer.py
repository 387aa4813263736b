"""Http2Writer: a ResponseWriter's answers as HTTP/2."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from ....core.payload import Body, Reply
from ...app_context import AppContext
from ...message.reply import BODILESS, DefaultHeaders, head_fields
from ...message.request import Head
from ...message.worker_hold import WorkerHold
from .errors import ErrorCode
from .header_block import encode_block
from .stream import Stream


class Http2Writer:
    """The answer to one request, on its stream. The stream's handler hands on its calls of `writable`.

    `too_slow` is called for a client that does not take a streamed answer for which a worker waits.
    """

    __slots__ = ("_context", "_hold", "_stream", "_too_slow")

    def __init__(self, context: AppContext, stream: Stream, too_slow: Callable[[], None]) -> None:
        self._context = context
        self._stream = stream
        self._too_slow = too_slow
        self._hold: WorkerHold | None = None

    def answer(self, head: Head, reply: Reply, request_id: str, *, unread: bool) -> None:
        """Write a whole answer. What the client still sends of its body is not needed: the stream says so by itself."""
        self._too_slow = _answered
        default_headers = self._context.default_headers
        if reply.status == 200 and not reply.headers and not reply.content_type:
            block = _plain_block(default_headers) % (request_id.encode(), _length(len(reply.body)))
        else:
            length = len(reply.body)
            block = _block(
                reply, head_fields(reply, request_id, keep=None, length=length, default_headers=default_headers)
            )
        if head.method == "HEAD" or reply.status in BODILESS or not len(reply.body):
            self._stream.send_headers(block, end=True)
            return
        self._stream.send_headers(block)
        self._stream.send((reply.body,), end=True)

    def begin(self, head: Head, reply: Reply, request_id: str) -> None:
        """Write the head of a streamed answer, and its first piece."""
        fields = head_fields(reply, request_id, keep=None, length=None, default_headers=self._context.default_headers)
        self._stream.send_headers(_block(reply, [*fields, ("ts_stream_next", "true")]))
        self._stream.send((reply.body,))

    def piece(self, head: Head, body: Body) -> None:
        """Write a piece of a streamed answer."""
        self._stream.send((body,))

    def end(self, head: Head, body: Body) -> None:
        """Write the last piece of a streamed answer."""
        self.end_hold()
        self._too_slow = _answered
        self._stream.send((body,), end=True)

    def break_off(self) -> None:
        """Reset the stream, so that the client sees that the answer has no end."""
        self.end_hold()
        self._too_slow = _answered
        self._stream.reset(ErrorCode.INTERNAL_ERROR)

    @property
    def full(self) -> bool:
        """Whether the client has more bytes to take than a streamed answer may be ahead of it."""
        return self._stream.full

    def until_taken(self, remaining: Callable[[], float], go_on: Callable[[], None]) -> None:
        """Have the worker wait until the client has taken some of its answer; see WorkerHold."""
        if self._hold is None:
            self._hold = WorkerHold(self._context.limits, self._unsent, remaining, go_on, self._too_slow)
        else:
            self._hold.look()

    def writable(self) -> None:
        """Have the worker go on: the client has taken enough."""
        hold = self._hold
        self.end_hold()
        if hold is not None:
            hold.taken()

    def end_hold(self) -> None:
        """End the worker's wait: the streamed answer goes on, or has ended."""
        if self._hold is not None:
            self._hold.end()
            self._hold = None

    def _unsent(self) -> tuple[object, int]:
        return self._stream.peer, self._stream.queued


def _answered() -> None:
    """Do nothing: after the answer nobody waits. The handler's own method would refer to the handler, which has this
    writer: a cycle that would wait for the garbage collector.
    """


def _block(reply: Reply, fields: list[tuple[str, str]]) -> bytes:
    return encode_block(
        [(":status", str(reply.status)), *((name.lower(), value.strip(" \t")) for name, value in fields)]
    )


@lru_cache(maxsize=8)
def _plain_block(default_headers: DefaultHeaders) -> bytes:
    """Return the header block of most answers, to be formatted with the request's id and `_length`."""
    fields = [(name.lower(), value) for name, value in default_headers.fields]
    block = encode_block([(":status", "200"), *fields, ("x-request-id", "#" * 36)]).replace(b"%", b"%%")
    return block.replace(b"#" * 36, b"%b") + b"%b"


@lru_cache(maxsize=1024)
def _length(size: int) -> bytes:
    return encode_block([("content-length", str(size))])
