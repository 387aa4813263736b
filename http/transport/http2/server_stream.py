"""ServerStream: the Stream of a connection. The states of both of its sides are drawn in connection.py."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from ....core.payload import Body
from ...message.limits import Http2Limits
from ...message.worker_hold import goes_on_at
from .body_queue import BodyQueue
from .errors import ErrorCode, StreamAborted, StreamFault
from .frames import DATA, END_STREAM, MOST_WINDOW, AnswerFrames, pack_head, rst_stream, window_update
from .header_block import encode_block
from .outbox import Outbox
from .request_head import malformed
from .stream import Fields, RequestHead, StreamHandler

log = logging.getLogger(__name__)


class Owner(Protocol):
    """An interface for the table that a stream is in."""

    outbox: Outbox
    limits: Http2Limits
    peer: object

    @property
    def draining(self) -> bool:
        """Whether the connection ends once its streams have."""
        ...

    def local_end(self, stream: ServerStream) -> None:
        """Note that all of the stream's answer was sent."""

    def was_reset(self, stream: ServerStream) -> None:
        """Note that its handler has reset the stream."""


class ServerStream:
    """A request on a connection, and the answer to it.

    `window` is what the client takes now of the answer's body, and may be negative; `queued` are the bytes of the body
    that wait. `over` says that both sides have ended, or the stream was reset; then `handler` is None: the two refer to
    each other, and would wait for the garbage collector, each with a body.
    """

    __slots__ = (
        "_end", "_given_back", "_held", "_incoming", "_left", "_looked_at", "_moved", "_queue", "_table", "_trailers",
        "ended", "handler", "head", "id", "over", "peer", "queued", "ready", "remote_ended", "whole", "window",
    )  # fmt: skip

    def __init__(self, table: Owner, stream_id: int, head: RequestHead, whole: Body | None = None) -> None:
        """With `whole` there is all of the body, and nothing more will come."""
        self._table = table
        self.id = stream_id
        self.head = head
        self.peer: object = table.peer
        self.handler: StreamHandler | None = None
        self.window = table.outbox.initial_window
        self.queued = 0
        self.ready = False  # whether it is in the outbox's line
        self.ended = False  # whether the answer's end was given, whatever waits before it
        self.over = False
        self.remote_ended = whole is not None
        self.whole = whole
        self._queue: BodyQueue | None = None
        self._end = False  # whether the last of the body ends the stream
        self._trailers: bytes | None = None  # a header block that waits behind the body
        self._held = False  # whether the handler was told that this stream is full
        self._incoming = table.limits.stream_window  # bytes that the client may send
        self._given_back = 0  # bytes that it may send more, and was not told of yet
        # Bytes of the body that are still to come, where it was declared.
        self._left = head.length if whole is None else None
        self._looked_at = -1
        self._moved = 0.0

    # ---- Stream: what the handler calls

    def send_headers(self, headers: Fields | bytes, *, end: bool = False) -> None:
        """Begin the answer."""
        if self.ended:
            return
        block = headers if isinstance(headers, bytes) else encode_block(headers)
        self._table.outbox.put_headers(self.id, block, END_STREAM if end else 0)
        if end:
            self.ended = True
            self._table.local_end(self)

    def send(self, buffers: tuple[Body, ...], *, end: bool = False) -> None:
        """Send a piece of the body, or queue what flow control does not let pass."""
        if self.ended:
            return
        size = len(buffers[0]) if len(buffers) == 1 else sum(map(len, buffers))
        outbox = self._table.outbox
        if not size and not end:
            return
        if not self.queued and size <= min(self.window, outbox.window, outbox.max_frame) and not outbox.blocked:
            self.window -= size
            outbox.window -= size
            outbox.body_frames += 1
            outbox.put(pack_head(size << 8 | DATA, END_STREAM if end else 0, self.id), *buffers)
            if end:
                self.ended = True
                self._table.local_end(self)
            return
        if size:
            if self._queue is None:
                self._queue = BodyQueue()
            self._queue.add(buffers, size)
            self.queued += size
            outbox.waiting += size
            outbox.kept += size
            if self.window > 0:
                outbox.ready(self)
        if end:
            self._finish(None)

    def send_trailers(self, trailers: Fields | bytes) -> None:
        """End the answer with trailers."""
        if self.ended:
            return
        self._finish(trailers if isinstance(trailers, bytes) else encode_block(trailers))

    def send_answer(self, frames: AnswerFrames, buffers: tuple[Body, ...], size: int) -> None:
        """Send a whole answer: at once where flow control lets it pass."""
        if self.ended:
            return
        if size <= self.window and self._table.outbox.put_answer(self.id, frames, buffers, size):
            self.ended = True
            self._table.local_end(self)
            return
        self.send_headers(frames.head)
        self.send(buffers)
        self.send_trailers(frames.trailers)

    def _finish(self, trailers: bytes | None) -> None:
        """End the answer, behind the body that waits."""
        self.ended = True
        self._trailers = trailers
        self._end = trailers is None
        if self.queued:
            return
        outbox = self._table.outbox
        if trailers is None:
            outbox.put(pack_head(DATA, END_STREAM, self.id))
        else:
            outbox.put_headers(self.id, trailers, END_STREAM)
        self._table.local_end(self)

    def reset(self, code: ErrorCode) -> None:
        """End the stream with RST_STREAM."""
        if not self.over:
            self.ended = True
            self._table.outbox.put(rst_stream(self.id, code))
            self._table.was_reset(self)
            self.drop()

    def consumed(self, size: int) -> None:
        """Let the client send `size` bytes more."""
        if self.remote_ended or self.over:
            return
        self._given_back += size
        if self._given_back * 2 >= self._table.limits.stream_window:
            self._table.outbox.put(window_update(self.id, self._given_back))
            self._incoming += self._given_back
            self._given_back = 0

    @property
    def full(self) -> bool:
        """Whether more waits for the client than a streamed answer may be ahead of it."""
        if self.queued <= self._table.outbox.max_unsent:
            return False
        self._held = True
        return True

    @property
    def draining(self) -> bool:
        """Whether the connection ends once its streams have."""
        return self._table.draining

    # ---- the outbox

    @property
    def ends_here(self) -> bool:
        """Whether nothing follows what `cut` has returned."""
        return self._end and not self.queued

    def cut(self, most: int) -> tuple[list[Body], int]:
        """Remove at most `most` bytes from the body that waits, and return their buffers and their number."""
        queue = self._queue
        if queue is None:
            return [], 0
        before = queue.kept
        pieces, size = queue.cut(most)
        self._table.outbox.kept -= before - queue.kept
        self.queued -= size
        return pieces, size

    def was_sent(self) -> None:
        """Go on behind what was cut: with the end of the answer, or with a handler that waits for room."""
        if not self.queued and self.ended:
            if self._trailers is not None:
                self._table.outbox.put_headers(self.id, self._trailers, END_STREAM)
            self._table.local_end(self)
        elif self._held and self.queued <= goes_on_at(self._table.outbox.max_unsent):
            self._held = False
            if self.handler is not None:
                self.call(self.handler.writable)

    def stalled(self, now: float) -> float:
        """Return for how many seconds the client has let nothing of the body pass that waits for it."""
        taken = self._queue.taken if self._queue is not None else 0
        if not self.queued or taken != self._looked_at:
            self._looked_at, self._moved = taken, now
        return now - self._moved

    # ---- the connection

    def widen(self, size: int) -> None:
        """Note that the client takes `size` bytes more. Raises StreamFault."""
        self.window += size
        if self.window > MOST_WINDOW:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "a stream's window is over 2^31-1 bytes")
        if self.queued and self.window > 0:
            self._table.outbox.ready(self)

    def count(self, size: int, length: int) -> None:
        """Count a DATA frame of `length` bytes of payload, `size` without padding. Raises StreamFault."""
        if self.remote_ended:
            raise StreamFault(ErrorCode.STREAM_CLOSED, "DATA behind the end of the stream")
        self._incoming -= length
        if self._incoming < 0:
            raise StreamFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the stream's window")
        if length > size:
            self.consumed(length - size)
        if self._left is not None:
            self._left -= size
            if self._left < 0:
                raise malformed("more DATA than content-length says")

    def receive(self, data: Body) -> None:
        """Hand a piece of the body to the handler."""
        if self.handler is not None:
            self.call(self.handler.data_received, data)

    def receive_end(self, trailers: tuple[tuple[str, str], ...] = ()) -> None:
        """Tell the handler that the client has sent everything. Raises StreamFault."""
        if self._left:
            raise malformed("less DATA than content-length says")
        self.remote_ended = True
        if self.handler is not None:
            self.call(self.handler.ended, trailers)

    def abort(self, error: StreamAborted) -> None:
        """Drop what waits, and tell the handler, unless it has given the whole answer."""
        given, handler = self.ended, self.handler
        self.drop()
        if not given and handler is not None:
            self.call(handler.aborted, error)

    def drop(self) -> None:
        """Forget the body that waits: the stream is over."""
        self.over = self.ended = True
        self.handler = None
        outbox = self._table.outbox
        if self._queue is not None:
            outbox.waiting -= self.queued
            outbox.kept -= self._queue.kept
        self.queued = 0
        self._queue = self._trailers = None

    def call(self, method: Callable[..., object], *arguments: object) -> None:
        """Call the handler. Whatever it raises ends the stream, and is logged."""
        try:
            _ = method(*arguments)
        except Exception as error:
            log.exception("a handler of stream %d (%s) failed", self.id, self.head.path)
            if not self.ended:
                handler = self.handler
                self.reset(ErrorCode.INTERNAL_ERROR)
                if handler is not None:
                    self.call(handler.aborted, StreamAborted(None, f"its handler failed: {error!r}"))
