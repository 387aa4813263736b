"""FrameReader: cuts what comes into frames, and puts header blocks together (RFC 9113, sections 4 and 6.10).

The payload of DATA is handed on as it comes, so that a large frame takes no buffer and its body need not wait for its
end. All other frames are handed on whole: none of them may be longer than a header block.
"""

from __future__ import annotations

from typing import Protocol

from ....core.payload import Body
from ...message.limits import Http2Limits
from .errors import ConnectionFault, ErrorCode
from .frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEAD_SIZE,
    HEADERS,
    MOST_STREAM,
    MOST_WINDOW,
    PADDED,
    PREFACE,
    PRIORITIZED,
    SETTINGS,
    WINDOW_UPDATE,
    unpack_head,
)

_WIDENS = 4 << 8 | WINDOW_UPDATE  # the first field of its head
_COPY_UNDER = 4096  # bytes: a view of so little would keep all that came in the same packet


class MessageSink(Protocol):
    """An interface for what takes the frames of requests. Any of its methods may raise ConnectionFault."""

    def data_began(self, stream_id: int, flags: int, length: int, size: int) -> None:
        """Take the head of DATA with `length` bytes of payload, `size` of them without padding."""

    def data_came(self, piece: Body) -> None:
        """Take the next bytes of the body in the DATA that began last."""

    def data_ended(self) -> None:
        """Note that the DATA that began last is whole."""

    def request_came(self, stream_id: int, block: bytes, body: Body, widen: int) -> bool:
        """Take a request that is whole: its header block, and all of its body. The client takes `widen` bytes more of
        its answer than of others'. Return False to get it by the other methods instead.
        """
        ...

    def head_came(self, stream_id: int, block: bytes) -> bool:
        """Take the header block of a request whose body may be at hand, and wait for `body_came` or `settle`. Return
        False to get it by `block_came` instead.
        """
        ...

    def widened(self, stream_id: int, size: int) -> bool:
        """Note that the client takes `size` bytes more of the answer to a request that waits for its body. Return False
        if none does on this stream, or that is wrong.
        """
        ...

    def body_came(self, stream_id: int, body: Body) -> bool:
        """Take all of the body of a request that waits for it. Return False to get it by the other methods instead."""
        ...

    def settle(self) -> None:
        """Begin with the requests that wait for their bodies: these have yet to come."""

    def block_came(self, stream_id: int, flags: int, block: bytes, depends_on: int) -> None:
        """Take a whole header block; `depends_on` is the stream of its priority, or -1 without one."""


class ControlSink(Protocol):
    """An interface for what takes all other frames."""

    over: bool  # nothing is read any more

    def control_came(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Take a whole frame. Raises ConnectionFault."""


class FrameReader:
    """A reader of the frames of one connection. `more` says that frames are here which `read` has left for later."""

    __slots__ = (
        "_begun", "_block", "_block_depends", "_block_flags", "_block_size", "_block_stream", "_control", "_data_left",
        "_limits", "_messages", "_most_block", "_padding_left", "_rest", "_settled", "_waiting", "in_data", "more",
        "moved",
    )  # fmt: skip

    def __init__(self, messages: MessageSink, control: ControlSink, limits: Http2Limits) -> None:
        self._messages = messages
        self._control = control
        self._limits = limits
        self._most_block = min(limits.max_block, limits.max_frame)
        self._rest = b""
        self._begun = False  # the preface is here
        self._settled = False  # the client's first SETTINGS are here
        self.in_data = False
        self._data_left = self._padding_left = 0
        self._block: list[bytes] | None = None  # of a header block whose end is not here
        self._block_stream = self._block_flags = self._block_depends = self._block_size = 0
        self._waiting = False  # whether requests wait for their bodies
        self.more = False
        self.moved = False  # whether the latest call of `read` has come to the end of a frame, or some way into DATA

    @property
    def partial(self) -> bool:
        """Whether the connection is within a frame, a header block, or what it must begin with."""
        return bool(self._rest) or self.in_data or self._block is not None or not self._settled

    def read(self, data: bytes) -> None:
        """Read what has come, as far as it is whole and its turn goes. Raises ConnectionFault."""
        self.more = self.moved = False
        if self._rest:
            data = self._rest + data
            self._rest = b""
        at = 0
        if not self._begun:
            if not data.startswith(PREFACE[: len(data)]):
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "this is no HTTP/2: the preface is wrong")
            if len(data) < len(PREFACE):
                self._rest = data
                return
            self._begun = True
            at = len(PREFACE)
        try:
            at = self._read(data, at)
        finally:
            if self._waiting:
                self._waiting = False
                self._messages.settle()
        self.moved = at > 0 and self._block is None
        if at < len(data) and not self._control.over:
            self._rest = data[at:] if at else data

    def _read(self, data: bytes, at: int) -> int:
        """Read frames from `at` on, and return where the first one begins that is not whole, or not for this turn."""
        size, messages, control = len(data), self._messages, self._control
        left = self._limits.frames_a_turn
        while left > 0:
            left -= 1
            if self.in_data:
                at = self._read_data(data, at)
            if size - at < HEAD_SIZE or control.over:
                return at
            first, flags, stream_id = unpack_head(data, at)
            length, kind = first >> 8, first & 0xFF
            begin = at + HEAD_SIZE
            end = begin + length
            if kind == HEADERS and flags == END_HEADERS and size - end >= HEAD_SIZE:
                after = self._read_whole(data, at, end, stream_id)
                if after:
                    at = after
                    left -= 1
                    continue
                if self._wait(data[begin:end], stream_id):
                    at = end
                    continue
            if self._waiting:
                if end <= size and self._read_on(data, begin, end, first, flags, stream_id):
                    at = end
                    continue
                self._waiting = False
                messages.settle()
            stream_id &= MOST_STREAM
            self._check(kind, length, stream_id)
            if kind == DATA:
                if not flags & PADDED:
                    messages.data_began(stream_id, flags, length, length)
                    self._data_left = length
                elif length and size == begin:
                    return at  # the first byte of the payload says how long the padding is
                else:
                    begin += 1
                    self._begin_padded(stream_id, flags, length, data[at + HEAD_SIZE] if length else 0)
                self.in_data = True
                at = self._read_data(data, begin)
                continue
            if end > size:
                return at
            if kind == HEADERS:
                self._begin_block(stream_id, flags, data[begin:end])
            elif kind == CONTINUATION:
                self._continue_block(flags, data[begin:end])
            else:
                control.control_came(kind, flags, stream_id, data[begin:end])
            at = end
        self.more = size - at >= HEAD_SIZE
        return at

    def _read_whole(self, data: bytes, at: int, middle: int, stream_id: int) -> int:
        """Read the HEADERS at `at` together with the DATA behind `middle`, if that is here and is all of the body.
        Return where it ends; 0 if the two are to be read one by one, as what is wrong with a frame is not said here.

        grpcio's clients open the stream's window between the two.
        """
        first, flags, other = unpack_head(data, middle)
        begin = middle + HEAD_SIZE
        widen = 0
        if first == _WIDENS and other == stream_id and len(data) - begin >= 4 + HEAD_SIZE:
            widen = int.from_bytes(data[begin : begin + 4]) & MOST_WINDOW
            if not widen:
                return 0
            first, flags, other = unpack_head(data, begin + 4)
            begin += 4 + HEAD_SIZE
        end = begin + (first >> 8)
        if first & 0xFF != DATA or flags != END_STREAM or other != stream_id or end > len(data):
            return 0
        block = data[at + HEAD_SIZE : middle]
        if len(block) > self._most_block or end - begin > self._limits.max_frame or self._block or not self._settled:
            return 0
        body = memoryview(data)[begin:end] if end - begin >= _COPY_UNDER else data[begin:end]
        return end if self._messages.request_came(stream_id, block, body, widen) else 0

    def _wait(self, block: bytes, stream_id: int) -> bool:
        """Have a request wait whose body does not follow its head at once. Return False if it can't.

        Clients that have many calls in one packet, as Go's and proxies do, send all heads before the bodies.
        """
        if len(block) > self._most_block or self._block or not self._settled:
            return False
        if not self._messages.head_came(stream_id, block):
            return False
        self._waiting = True
        return True

    def _read_on(self, data: bytes, begin: int, end: int, first: int, flags: int, stream_id: int) -> bool:
        """Read a frame of a request that waits for its body. Return False to have it read as any other."""
        if first & 0xFF == DATA and flags == END_STREAM and end - begin <= self._limits.max_frame:
            body = memoryview(data)[begin:end] if end - begin >= _COPY_UNDER else data[begin:end]
            return self._messages.body_came(stream_id, body)
        return first == _WIDENS and self._messages.widened(stream_id, int.from_bytes(data[begin:end]) & MOST_WINDOW)

    def _check(self, kind: int, length: int, stream_id: int) -> None:
        """Refuse a frame by its head."""
        limits = self._limits
        if length > limits.max_frame:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of {length} bytes: {limits.max_frame} may come")
        if kind == DATA:
            allowed = self._block is None and self._settled
        elif self._block is not None:
            allowed = kind == CONTINUATION and stream_id == self._block_stream
        else:
            allowed = kind != CONTINUATION and (self._settled or kind == SETTINGS)
            self._settled = True
        if not allowed:
            raise ConnectionFault(
                ErrorCode.PROTOCOL_ERROR, "SETTINGS don't come first, or a header block is broken or interrupted"
            )
        if kind != DATA and length > limits.max_block:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM, f"a header block, or a frame, of more than {limits.max_block} bytes"
            )

    # ---- DATA

    def _begin_padded(self, stream_id: int, flags: int, length: int, padding: int) -> None:
        if padding >= length:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "the padding is longer than its frame")
        self._data_left = length - 1 - padding
        self._padding_left = padding
        self._messages.data_began(stream_id, flags, length, self._data_left)

    def _read_data(self, data: bytes, at: int) -> int:
        """Hand on what is here of the DATA that began last, and return where it, or what is here, ends."""
        if self._data_left and at < len(data):
            end = min(at + self._data_left, len(data))
            self._data_left -= end - at
            self._messages.data_came(memoryview(data)[at:end] if end - at >= _COPY_UNDER else data[at:end])
            at = end
        if not self._data_left:
            skipped = min(self._padding_left, len(data) - at)
            self._padding_left -= skipped
            at += skipped
            if not self._padding_left:
                self.in_data = False
                self._messages.data_ended()
        return at

    # ---- header blocks

    def _begin_block(self, stream_id: int, flags: int, payload: bytes) -> None:
        depends_on = -1
        begin, end = 0, len(payload)
        if flags & (PADDED | PRIORITIZED):
            if flags & PADDED:
                begin, end = 1, end - (payload[0] if payload else 0)
            if flags & PRIORITIZED:
                depends_on = int.from_bytes(payload[begin : begin + 4], "big") & MOST_STREAM
                begin += 5
            if begin > end:
                raise ConnectionFault(
                    ErrorCode.PROTOCOL_ERROR, "the padding, or the priority, is longer than its frame"
                )
            payload = payload[begin:end]
        if flags & END_HEADERS:
            self._messages.block_came(stream_id, flags, payload, depends_on)
            return
        self._block = [payload]
        self._block_stream, self._block_flags, self._block_depends = stream_id, flags, depends_on
        self._block_size = len(payload)

    def _continue_block(self, flags: int, payload: bytes) -> None:
        block, limits = self._block, self._limits
        if block is None:
            return  # refused by `_check`
        block.append(payload)
        self._block_size += len(payload)
        if self._block_size > limits.max_block or len(block) > limits.max_continuations + 1:
            raise ConnectionFault(
                ErrorCode.ENHANCE_YOUR_CALM,
                f"a header block of more than {limits.max_block} bytes or {limits.max_continuations} CONTINUATION",
            )
        if flags & END_HEADERS:
            self._block = None
            self._messages.block_came(self._block_stream, self._block_flags, b"".join(block), self._block_depends)
