"""Http2Client: the client's side of one HTTP/2 connection, without I/O, as little of it as sending requests needs.

A driver writes what `take` returns to the socket after each call, and calls `receive` with what comes. For speed it
does less than the server's side (http/transport/http2): a request is a header block that was encoded once and a body
that was framed once, and of an answer's frames little more than their heads is read.

The server is told not to use a dynamic table for its header blocks (SETTINGS_HEADER_TABLE_SIZE 0), so that a block
means the same wherever it comes, and those that came before are known. It may send as much as it likes: the windows are
as wide as they can be. What we send keeps to the server's windows and to its number of streams.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Protocol

from hpack import Decoder
from hpack.exceptions import HPACKError

from ...http.transport.http2.errors import ErrorCode
from ...http.transport.http2.frames import (
    ACK,
    CONTINUATION,
    DATA,
    DEFAULT_WINDOW,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEAD_SIZE,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LEAST_MAX_FRAME,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MOST_MAX_FRAME,
    MOST_STREAM,
    MOST_WINDOW,
    PADDED,
    PING,
    PREFACE,
    PRIORITIZED,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    header_frames,
    pack_head,
    read_settings,
    rst_stream,
    settings,
    unpack_head,
    window_update,
)

_FRAME = 1 << 20  # bytes of the largest frame that may come
_GIVEN_BACK = 1 << 29  # bytes that have come, after which the connection's window is opened again
_MOST_BLOCK = 1 << 16  # bytes of a header block
_MOST_KNOWN = 256  # header blocks that are remembered
_LAST_STREAM = MOST_STREAM - 2


class BadAnswer(ValueError):
    """An error for bytes that are no HTTP/2, which ends the connection."""


class AnswerSink(Protocol):
    """An interface for what takes the answer to one request. `lost` is the last call, or the one that `ended`."""

    def headers_came(self, fields: Mapping[str, str], *, ended: bool) -> None:
        """Take a header block: the head of the answer, or its trailers."""

    def data_came(self, data: bytes, *, ended: bool) -> None:
        """Take a piece of the body."""

    def lost(self, why: str) -> None:
        """Note that no more of the answer will come."""


class _Waiting:
    """A body of which the server's windows have not let all pass."""

    __slots__ = ("left", "stream_id", "window")

    def __init__(self, stream_id: int, left: memoryview, window: int) -> None:
        self.stream_id = stream_id
        self.left = left
        self.window = window


class Http2Client:
    """A connection. `leaving` says why no more requests may be sent on it, and is empty as long as they may."""

    def __init__(self) -> None:
        values = {HEADER_TABLE_SIZE: 0, ENABLE_PUSH: 0, INITIAL_WINDOW_SIZE: MOST_WINDOW, MAX_FRAME_SIZE: _FRAME}
        self._out: list[bytes | memoryview] = [PREFACE, settings(values), _widened(MOST_WINDOW - DEFAULT_WINDOW)]
        self._sinks: dict[int, AnswerSink] = {}
        self._next = 1
        self._rest = b""
        self._block: tuple[int, int, bytes] | None = None  # stream, flags and beginning of a block that is not whole
        self._decoder = Decoder()
        self._known: dict[bytes, dict[str, str]] = {}
        self._window = DEFAULT_WINDOW
        self._initial_window = DEFAULT_WINDOW
        self._max_frame = LEAST_MAX_FRAME
        self._max_streams = MOST_STREAM
        self._bodies: dict[int, _Waiting] = {}
        self._queue: deque[tuple[bytes, bytes, AnswerSink]] = deque()  # requests beyond the server's streams
        self._came = 0  # bytes of DATA that were not given back
        self.leaving = ""

    # ---- requests

    def send(self, block: bytes, body: bytes, sink: AnswerSink) -> None:
        """Send a request whose header block and body were made before; `sink` gets its answer."""
        if len(self._sinks) >= self._max_streams:
            self._queue.append((block, body, sink))
            return
        stream_id, size = self._next, len(body)
        self._next += 2
        if self._next > _LAST_STREAM:
            self.leaving = "the connection has no stream left"
        self._sinks[stream_id] = sink
        if size <= self._window and size <= self._initial_window and size <= self._max_frame:
            self._window -= size
            self._out.append(
                pack_head(len(block) << 8 | HEADERS, END_HEADERS, stream_id)
                + block
                + pack_head(size << 8 | DATA, END_STREAM, stream_id)
                + body
            )
            return
        self._out.append(header_frames(stream_id, block, 0, self._max_frame))
        self._bodies[stream_id] = _Waiting(stream_id, memoryview(body), self._initial_window)
        self._pump()

    def cancel(self, sink: AnswerSink) -> None:
        """Tell the server that the answer is not needed, and tell `sink` nothing more."""
        for stream_id, each in self._sinks.items():
            if each is sink:
                self._out.append(rst_stream(stream_id, ErrorCode.CANCEL))
                self._forget(stream_id)
                return
        self._queue = deque(each for each in self._queue if each[2] is not sink)

    def take(self) -> list[bytes | memoryview]:
        """Return what there is to send, and forget it."""
        out, self._out = self._out, []
        return out

    @property
    def idle(self) -> bool:
        """Return whether no answer is awaited."""
        return not self._sinks and not self._queue

    def _pump(self) -> None:
        """Send what the server's windows let pass of the bodies that wait, a frame of each in turn."""
        moved = True
        while moved and self._window > 0:
            moved = False
            for body in list(self._bodies.values()):
                size = min(len(body.left), body.window, self._window, self._max_frame)
                if size <= 0:
                    continue
                moved = True
                piece, body.left = body.left[:size], body.left[size:]
                body.window -= size
                self._window -= size
                ends = not body.left.nbytes
                self._out += (pack_head(size << 8 | DATA, END_STREAM if ends else 0, body.stream_id), piece)
                if ends:
                    del self._bodies[body.stream_id]

    def _forget(self, stream_id: int) -> AnswerSink | None:
        self._bodies.pop(stream_id, None)
        sink = self._sinks.pop(stream_id, None)
        while self._queue and len(self._sinks) < self._max_streams and not self.leaving:
            self.send(*self._queue.popleft())
        return sink

    # ---- answers

    def receive(self, data: bytes) -> None:
        """Take what has come. Raises BadAnswer."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at, size, sinks = 0, len(data), self._sinks
        while size - at >= HEAD_SIZE:
            first, flags, stream_id = unpack_head(data, at)
            length, kind = first >> 8, first & 0xFF
            if length > _FRAME:
                raise BadAnswer(f"{data[at : at + 20]!r} is no frame of HTTP/2")
            begin = at + HEAD_SIZE
            end = begin + length
            if end > size:
                break
            at = end
            if self._block is not None and (kind != CONTINUATION or stream_id != self._block[0]):
                raise BadAnswer("a header block is interrupted")
            if kind == DATA:
                self._came += length
                sink = sinks.get(stream_id)
                if sink is not None:
                    ended = bool(flags & END_STREAM)
                    if ended:
                        self._forget(stream_id)
                    sink.data_came(_unpadded(data[begin:end]) if flags & PADDED else data[begin:end], ended=ended)
            elif kind == HEADERS:
                payload = _plain(data[begin:end], flags) if flags & (PADDED | PRIORITIZED) else data[begin:end]
                self._block_came(stream_id, flags, payload)
            elif kind == CONTINUATION:
                self._continued(flags, data[begin:end])
            else:
                self._control(kind, flags, stream_id, data[begin:end])
        if at < size:
            self._rest = data[at:] if at else data
        if self._came > _GIVEN_BACK:
            self._out.append(_widened(self._came))
            self._came = 0

    def _continued(self, flags: int, payload: bytes) -> None:
        if self._block is None:
            raise BadAnswer("CONTINUATION without HEADERS")
        stream_id, before, block = self._block
        self._block = None
        self._block_came(stream_id, before | flags & END_HEADERS, block + payload)

    def _block_came(self, stream_id: int, flags: int, block: bytes) -> None:
        if len(block) > _MOST_BLOCK:
            raise BadAnswer(f"a header block of more than {_MOST_BLOCK} bytes")
        if not flags & END_HEADERS:
            self._block = (stream_id, flags, block)
            return
        fields = self._known.get(block)
        if fields is None:
            fields = self._decoded(block)
        sink = self._sinks.get(stream_id)
        if sink is not None:
            ended = bool(flags & END_STREAM)
            if ended:
                self._forget(stream_id)
            sink.headers_came(fields, ended=ended)

    def _decoded(self, block: bytes) -> dict[str, str]:
        try:
            raw = self._decoder.decode(block, raw=True)
        except (HPACKError, IndexError, ValueError, OverflowError) as error:
            raise BadAnswer(f"a header block can't be decoded: {error}") from None
        fields = {bytes(name).decode("latin-1"): bytes(value).decode("latin-1") for name, value in raw}
        if not self._decoder.header_table.dynamic_entries:  # else a block may mean something else next time
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[block] = fields
        return fields

    # ---- frames of the connection

    def _control(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        if kind == WINDOW_UPDATE:
            self._widen(stream_id, int.from_bytes(payload[:4]) & MOST_WINDOW)
        elif kind == RST_STREAM:
            sink = self._forget(stream_id)
            if sink is not None:
                sink.lost(f"the server has reset the stream: {_code(payload[:4])}")
        elif kind == SETTINGS and not flags & ACK:
            self._settings(payload)
        elif kind == PING and not flags & ACK:
            self._out.append(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            text = payload[8:].decode("utf-8", "replace")
            code = _code(payload[4:8])
            self.leaving = self.leaving or f"the server ends the connection: {code}{f', {text}' if text else ''}"
            self._drop(int.from_bytes(payload[:4]) & MOST_STREAM)

    def _settings(self, payload: bytes) -> None:
        if len(payload) % 6:
            raise BadAnswer("SETTINGS of an odd length")
        for name, value in read_settings(payload):
            if name == INITIAL_WINDOW_SIZE:
                for body in self._bodies.values():
                    body.window += value - self._initial_window
                self._initial_window = value
            elif name == MAX_FRAME_SIZE:
                if not LEAST_MAX_FRAME <= value <= MOST_MAX_FRAME:
                    raise BadAnswer(f"SETTINGS_MAX_FRAME_SIZE is {value}")
                self._max_frame = value
            elif name == MAX_CONCURRENT_STREAMS:
                self._max_streams = value
        self._out.append(frame(SETTINGS, ACK, 0))
        self._pump()

    def _widen(self, stream_id: int, size: int) -> None:
        if not stream_id:
            self._window += size
        elif (body := self._bodies.get(stream_id)) is not None:
            body.window += size
        if self._bodies:
            self._pump()

    def _drop(self, last: int) -> None:
        """Give up the requests beyond the last stream that the server answers."""
        for stream_id in [each for each in self._sinks if each > last]:
            sink = self._forget(stream_id)
            if sink is not None:
                sink.lost(self.leaving)
        queue, self._queue = self._queue, deque()
        for _, _, sink in queue:
            sink.lost(self.leaving)

    def lost(self, why: str) -> None:
        """Note that the connection has ended: every answer that is awaited is lost."""
        self.leaving = self.leaving or why
        self._drop(0)


def _widened(by: int) -> bytes:
    return window_update(0, by)


def _unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise BadAnswer("the padding is longer than its frame")
    return payload[1 : len(payload) - payload[0]]


def _plain(payload: bytes, flags: int) -> bytes:
    """Return the block in HEADERS that have padding or a priority."""
    if flags & PADDED:
        payload = _unpadded(payload)
    return payload[5:] if flags & PRIORITIZED else payload


def _code(payload: bytes) -> str:
    code = int.from_bytes(payload)
    return ErrorCode(code).name if code in set(ErrorCode) else f"code {code}"
