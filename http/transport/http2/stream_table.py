"""StreamTable: the streams of a connection. It opens them for requests, and forgets them.

The states of a stream are drawn in connection.py.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from ....core.payload import Body
from ...message.limits import Limits
from .closed_streams import ClosedStreams
from .errors import ConnectionFault, ErrorCode, StreamAborted, StreamFault
from .frames import END_STREAM, MOST_STREAM, MOST_WINDOW, rst_stream, window_update
from .header_block import BlockDecoder, encode_block
from .outbox import Outbox
from .request_head import RefusedHead, malformed
from .server_stream import ServerStream
from .stream import Application, RequestHead

log = logging.getLogger(__name__)


_NOT_SMALL = 256  # bytes of DATA for which a client may send a few frames of control


class Owner(Protocol):
    """An interface for the connection of a table."""

    outbox: Outbox
    peer: object
    now: float
    draining: bool

    def spend_reset(self) -> None:
        """Count a stream that came to nothing. Raises ConnectionFault."""

    def spend_control(self) -> None:
        """Count a frame that carries nothing of a request. Raises ConnectionFault."""


class StreamTable:
    """The streams of one connection that are not closed, by id, and what becomes of frames that belong to requests.

    `last_id` is the last one that the client has opened, and none beyond `last_served` is served. `answered` counts the
    requests that were, since the connection has set it back. `refused` gets the status that a client was sent whose
    request never got to the application, 400 where its stream was reset, and why.
    """

    def __init__(
        self,
        connection: Owner,
        limits: Limits,
        application: Application,
        refused: Callable[[int, str], None],
    ) -> None:
        own = self.limits = limits.http2
        self.outbox: Outbox = connection.outbox
        self.peer = connection.peer
        self.open: dict[int, ServerStream] = {}
        self.last_id = 0
        self.answered = 0
        self.last_served = MOST_STREAM
        self.idle_since = connection.now  # when there was no stream any more
        self._connection = connection
        self._application = application
        self._refused = refused
        self._decoder = BlockDecoder(own, limits.max_headers, limits.max_header)
        self._known = self._decoder.known
        self._waiting: dict[
            int, tuple[RequestHead, int]
        ] = {}  # whose bodies may be at hand, and what widens their windows
        self._incoming = own.connection_window  # bytes of DATA that the client may send
        self._data: ServerStream | None = None  # the stream of the DATA that is coming
        self._data_flags = 0
        self.closed = ClosedStreams(self.outbox, limits.linger)

    @property
    def draining(self) -> bool:
        """Whether the connection ends once its streams have."""
        return self._connection.draining

    # ---- frames of requests

    def request_came(self, stream_id: int, block: bytes, body: Body, widen: int = 0) -> bool:
        """Take a request that is whole, unless there is anything unusual about it. Return whether it was taken."""
        head = self._known(block)
        return head is not None and self._may_open(stream_id) and self._take_whole(stream_id, head, body, widen)

    def head_came(self, stream_id: int, block: bytes) -> bool:
        """Keep the head of a request for `body_came`, unless there is anything unusual about it."""
        head = self._known(block)
        if head is None or not self._may_open(stream_id):
            return False
        self.last_id = stream_id
        self._waiting[stream_id] = head, 0
        return True

    def widened(self, stream_id: int, size: int) -> bool:
        """Widen the window of a stream whose request waits for its body. Return whether that was possible."""
        found = self._waiting.get(stream_id)
        if found is None or not size or self.outbox.initial_window + found[1] + size > MOST_WINDOW:
            return False
        self._waiting[stream_id] = found[0], found[1] + size
        return True

    def body_came(self, stream_id: int, body: Body) -> bool:
        """Take all of the body of a request that waits for it. Return whether that was possible."""
        found = self._waiting.pop(stream_id, None)
        if found is None:
            return False
        if self._take_whole(stream_id, found[0], body, found[1]):
            return True
        self._waiting[stream_id] = found
        return False

    def settle(self) -> None:
        """Serve the requests that wait for their bodies: these have yet to come."""
        waiting, self._waiting = self._waiting, {}
        for stream_id, (head, widen) in waiting.items():
            self._serve(stream_id, head, ended=False, widen=widen)

    def _may_open(self, stream_id: int) -> bool:
        """Return whether the client may open a stream of this number now."""
        return (
            self.last_id < stream_id <= self.last_served
            and bool(stream_id & 1)
            and len(self.open) + len(self._waiting) < self.limits.max_streams
        )

    def _take_whole(self, stream_id: int, head: RequestHead, body: Body, widen: int) -> bool:
        """Serve a request that is whole, unless the length of its body, or its window, is out of bounds."""
        size, limits, window = len(body), self.limits, self.outbox.initial_window + widen
        if not 0 < size <= limits.stream_window or head.length not in {None, size} or window > MOST_WINDOW:
            return False
        self.last_id = max(self.last_id, stream_id)
        incoming = self._incoming - size
        if incoming * 2 < limits.connection_window:
            self._take_from_window(size)
        else:
            self._incoming = incoming
        if size >= _NOT_SMALL:
            self.outbox.body_frames += 1
        stream = self.open[stream_id] = ServerStream(self, stream_id, head, body)
        stream.window = window
        self._begin(stream)
        if stream.whole is not None and not stream.over:
            stream.whole = None
            stream.receive(body)
            if not stream.over:
                stream.receive_end(())
        return True

    def _take_from_window(self, length: int) -> None:
        """Count DATA of `length` bytes, and open the connection's window again once half of it is used up."""
        incoming = self._incoming - length
        if incoming < 0:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "DATA beyond the connection's window")
        if incoming * 2 < self.limits.connection_window:
            self.outbox.put(window_update(0, self.limits.connection_window - incoming))
            incoming = self.limits.connection_window
        self._incoming = incoming

    def data_began(self, stream_id: int, flags: int, length: int, size: int) -> None:
        """Take the head of DATA with `length` bytes of payload, `size` of them without padding."""
        self._take_from_window(length)
        if size >= _NOT_SMALL:
            self.outbox.body_frames += 1
        elif not size and not flags & END_STREAM:
            self._connection.spend_control()
        self._data_flags = flags
        stream = self._data = self.open.get(stream_id)
        if stream is None:
            self._stray_data(stream_id, flags, length)
            return
        try:
            stream.count(size, length)
        except StreamFault as fault:
            self._data = None
            self.end(stream, fault)

    def _stray_data(self, stream_id: int, flags: int, length: int) -> None:
        """Take DATA on a stream that is not open."""
        self.check_known(stream_id, "DATA")
        if not self.closed.data_came(stream_id, length):
            self._refuse(stream_id, StreamFault(ErrorCode.STREAM_CLOSED, ""), ended=True)
        if flags & END_STREAM:
            self.closed.end(stream_id)

    def data_came(self, piece: Body) -> None:
        """Take the next bytes of the body in the DATA that began last."""
        if self._data is not None and not self._data.over:
            self._data.receive(piece)

    def data_ended(self) -> None:
        """Note that the DATA that began last is whole."""
        stream, self._data = self._data, None
        if stream is not None and not stream.over and self._data_flags & END_STREAM:
            self._end_remote(stream, ())

    def block_came(self, stream_id: int, flags: int, block: bytes, depends_on: int) -> None:
        """Take a whole header block: a request, or trailers."""
        stream = self.open.get(stream_id)
        if stream is not None:
            self._trailers_came(stream, flags, block)
        elif stream_id % 2 == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client's streams have odd numbers")
        elif stream_id > self.last_id:
            self.last_id = stream_id
            self._request_came(stream_id, flags, block, depends_on)
        else:
            _ = self._decoder.skip(block)
            if stream_id not in self.closed:
                raise ConnectionFault(ErrorCode.STREAM_CLOSED, "HEADERS on a stream that is closed")
            if flags & END_STREAM:
                self.closed.end(stream_id)

    def _request_came(self, stream_id: int, flags: int, block: bytes, depends_on: int) -> None:
        ends = bool(flags & END_STREAM)
        try:
            head = self._decoder.head(block)
            if depends_on == stream_id:
                raise malformed("a stream depends on itself")
            if ends and head.length:
                raise malformed("no DATA where content-length says some")
        except StreamFault as fault:
            self._refuse(stream_id, fault, ended=ends)
            self._refused(400, fault.text)
            return
        except RefusedHead as refusal:
            status = encode_block(((":status", str(refusal.status)), ("content-length", "0")))
            self.outbox.put_headers(stream_id, status, END_STREAM)
            self._connection.spend_reset()
            if not ends:
                self.closed.linger(stream_id, self._connection.now)
            self._refused(refusal.status, refusal.text)
            return
        if stream_id > self.last_served or len(self.open) >= self.limits.max_streams:
            # REFUSED_STREAM says that the request was not looked at, so that it may be sent again elsewhere.
            self._refuse(stream_id, StreamFault(ErrorCode.REFUSED_STREAM, ""), ended=ends)
            return
        self._serve(stream_id, head, ended=ends)

    def _serve(self, stream_id: int, head: RequestHead, *, ended: bool, widen: int = 0) -> None:
        stream = self.open[stream_id] = ServerStream(self, stream_id, head)
        stream.window += widen
        stream.remote_ended = ended
        self._begin(stream)
        if ended and not stream.over:
            stream.receive_end(())

    def _begin(self, stream: ServerStream) -> None:
        """Have the application serve a request."""
        try:
            handler = self._application(stream)
        except Exception:
            log.exception("no handler came about for %s %s", stream.head.method, stream.head.path)
            stream.reset(ErrorCode.INTERNAL_ERROR)
            return
        if not stream.over:  # else it is answered already
            stream.handler = handler

    def _trailers_came(self, stream: ServerStream, flags: int, block: bytes) -> None:
        try:
            trailers = self._decoder.trailers(block)
            if stream.remote_ended:
                raise StreamFault(ErrorCode.STREAM_CLOSED, "HEADERS behind the end of the stream")
            if not flags & END_STREAM:
                raise malformed("HEADERS in the middle of a body")
        except StreamFault as fault:
            self.end(stream, fault)
            return
        self._end_remote(stream, trailers)

    # ---- ends

    def _end_remote(self, stream: ServerStream, trailers: tuple[tuple[str, str], ...]) -> None:
        """Note that the client has sent all of a request."""
        try:
            stream.receive_end(trailers)
        except StreamFault as fault:
            self.end(stream, fault)

    def local_end(self, stream: ServerStream) -> None:
        """Note that all of an answer was sent."""
        if stream.over:
            return
        if not stream.remote_ended:
            self.closed.linger(stream.id, self._connection.now)
        self.answered += 1
        stream.over = True  # as in `_forget`, of which this saves the call
        stream.handler = None
        del self.open[stream.id]
        if not self.open:
            self.idle_since = self._connection.now
            self.outbox.stir()

    def end(self, stream: ServerStream, fault: StreamFault) -> None:
        """End a stream that something is wrong with. Raises ConnectionFault where that happens too often."""
        self._refuse(stream.id, fault, ended=stream.remote_ended)
        self._forget(stream)
        stream.abort(StreamAborted(None, fault.text))

    def reset_came(self, stream_id: int, code: int) -> None:
        """Take the client's RST_STREAM. Raises ConnectionFault where that happens too often (CVE-2023-44487)."""
        stream = self.open.get(stream_id)
        if stream is None:
            self.check_known(stream_id, "RST_STREAM")
            self.closed.end(stream_id)
            return
        self._connection.spend_reset()
        self._forget(stream)
        stream.abort(StreamAborted(code, "the client has reset the stream"))

    def was_reset(self, stream: ServerStream) -> None:
        """Note that its handler has reset a stream."""
        if not stream.remote_ended:
            self.closed.ignore(stream.id)
        self._forget(stream)

    def _forget(self, stream: ServerStream) -> None:
        """Forget a stream that is closed."""
        stream.over = True
        if self.open.pop(stream.id, None) is None:
            return
        if not self.open:
            self.idle_since = self._connection.now
            self.outbox.stir()

    def abort_all(self, why: str) -> None:
        """End all streams: nothing can be sent on them any more."""
        streams, self.open = list(self.open.values()), {}
        for stream in streams:
            stream.abort(StreamAborted(None, why))

    def _refuse(self, stream_id: int, fault: StreamFault, *, ended: bool) -> None:
        self._connection.spend_reset()
        self.outbox.put_reply(rst_stream(stream_id, fault.code))
        if not ended:
            self.closed.ignore(stream_id)

    # ---- streams that are not open

    def check_known(self, stream_id: int, what: str) -> None:
        """Raise ConnectionFault if the client has never opened this stream."""
        if stream_id > self.last_id or stream_id % 2 == 0:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"{what} on a stream that was never opened")
