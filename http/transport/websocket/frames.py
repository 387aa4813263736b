"""Frames: what one client's frames may cost, and the heads of those that are sent.

aiohttp's WebSocketReader reads the frames. It takes frames that are not masked, which RFC 6455 5.1 forbids a server to,
and any number of tiny ones; and what it keeps of a message that is still arriving is counted nowhere. FrameWatch
walks over the frames' heads before aiohttp gets them, and sees to these three. What is sent has no fragments, masks or
extensions, so that a frame's head is two to ten bytes in front of the message, which is not copied.
"""

from __future__ import annotations

import asyncio
import struct
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from time import monotonic
from typing import TYPE_CHECKING

from aiohttp import WebSocketError, WSCloseCode
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader

from ....core.errors import ServerFull
from ....core.payload import Body
from ...message.limits import Limits
from ..http2.budget import Budget

if TYPE_CHECKING:
    from ....core.dataplane import Arrival

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA

_FIN = _MASKED = 0x80
_SMALL = 512  # bytes: of a fragment that costs more than its bytes do
_LONGEST_REASON = 123  # bytes, so that a close frame has at most 125


class FrameWatch:
    """A parser of what a client sends, in front of aiohttp's, whose messages come out of `messages`.

    `expect` returns what counts the bytes of a message that is arriving. The counts of whole messages are in `held`,
    in the order in which the messages come; whoever takes a message closes its count.
    """

    def __init__(self, messages: WebSocketDataQueue, limits: Limits, expect: Callable[[], Arrival]) -> None:
        self._messages = messages
        self._limits = limits
        # One byte more than may come, as the reader refuses a message that has exactly as many as it is told.
        self._reader = WebSocketReader(messages, limits.max_request_size + 1, compress=False, decode_text=False)
        self._expect = expect
        self._small = Budget(limits.small_frames, limits.small_frames_rate)
        self._head = bytearray()
        self._needed = 2  # bytes of the head
        self._left = 0  # bytes of the frame's payload
        self.failed = False
        self._closing = False
        self.closed = asyncio.Event()  # once the client has sent a close frame behind ours
        self._arriving: tuple[Arrival, ExitStack] | None = None
        self._began = self._piece = 0.0  # when the message that is arriving began, and when its latest bytes came
        self._size = 0  # bytes of it
        self.held: deque[ExitStack] = deque()
        self.heard = monotonic()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Read what has come. Called by aiohttp's protocol, which closes the connection on a first value of True."""
        if not self.failed:
            self.heard = monotonic()
            try:
                self._walk(data)
            except WebSocketError as error:
                self.failed = True
                self.closed.set()
                self._messages.set_exception(error)  # behind those that are whole
            else:
                if not self._closing:
                    self._reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        """End the messages: the connection is lost."""
        self._reader.feed_eof()

    def close(self) -> None:
        """Throw away what still comes, up to a close frame."""
        self._closing = True
        while self.held:
            self.held.popleft().close()
        if self._arriving is not None:
            self._arriving[1].close()
            self._arriving = None

    @property
    def arriving(self) -> bool:
        """Whether a message has begun and not ended."""
        return self._arriving is not None

    def too_slow(self, now: float) -> str:
        """Return why the message that is arriving comes too slowly, "" if it does not."""
        limits = self._limits
        if self._arriving is None:
            return ""
        if now - self._piece > limits.body_idle:
            return f"nothing of a message came for {limits.body_idle:g} s"
        if now - self._began > limits.body_grace + self._size / limits.body_rate:
            return f"a message came too slowly: {self._size} bytes in {now - self._began:.0f} s"
        return ""

    def pardon(self, now: float) -> None:
        """Count the time until now to nobody: the client could not send, as nothing was read."""
        self.heard = self._began = self._piece = now
        self._size = 0

    # ---- frames

    def _walk(self, data: bytes) -> None:
        at, size = 0, len(data)
        while at < size:
            if self._left:
                taken = min(self._left, size - at)
                at += taken
                self._left -= taken
                if self._head[0] & 0xF < CLOSE:
                    self._grow(taken)
                if not self._left:
                    self._frame_ended()
                continue
            more = data[at : at + self._needed - len(self._head)]
            at += len(more)
            self._head += more
            if len(self._head) == self._needed:
                self._head_is_whole()

    def _head_is_whole(self) -> None:
        head = self._head
        short = head[1] & 0x7F
        if self._needed == 2:
            if not head[1] & _MASKED:
                raise WebSocketError(WSCloseCode.PROTOCOL_ERROR, "a client's frames must be masked")
            self._needed = 6 + (2 if short == 126 else 8 if short == 127 else 0)
            return
        length = short if short < 126 else int.from_bytes(head[2 : self._needed - 4], "big")
        opcode = head[0] & 0xF
        is_data = opcode < CLOSE
        if not (is_data and (head[0] & _FIN or length >= _SMALL)) and not self._small.spend(monotonic()):
            raise WebSocketError(WSCloseCode.POLICY_VIOLATION, "too many small fragments, pings and pongs")
        if self._closing and opcode == CLOSE:
            self.closed.set()
        if is_data and self._arriving is None and not self._closing:
            held = ExitStack()
            self._arriving = held.enter_context(self._expect()), held
            self._began = self._piece = self.heard
            self._size = 0
        self._left = length
        if not length:
            self._frame_ended()

    def _grow(self, size: int) -> None:
        self._piece = self.heard
        self._size += size
        if self._arriving is not None:
            try:
                self._arriving[0].grow(size)
            except ServerFull as error:
                raise WebSocketError(WSCloseCode.TRY_AGAIN_LATER, error.message) from None

    def _frame_ended(self) -> None:
        first = self._head[0]
        self._head.clear()
        self._needed = 2
        if first & 0xF < CLOSE and first & _FIN and self._arriving is not None:
            self.held.append(self._arriving[1])
            self._arriving = None


def frame_head(opcode: int, size: int) -> bytes:
    """Return the head of a whole message, or of a control frame, of `size` bytes."""
    if size < 126:
        return bytes((_FIN | opcode, size))
    if size < 1 << 16:
        return struct.pack("!BBH", _FIN | opcode, 126, size)
    return struct.pack("!BBQ", _FIN | opcode, 127, size)


def close_frame(code: int, reason: str) -> bytes:
    """Return a close frame with as much of `reason` as fits."""
    told = reason.encode()[:_LONGEST_REASON].decode(errors="ignore").encode()
    return frame_head(CLOSE, 2 + len(told)) + code.to_bytes(2, "big") + told


def is_text(body: Body) -> bool:
    """Return whether a body may be sent as text, which must be UTF-8."""
    try:
        str(body, "utf-8")
    except UnicodeDecodeError:
        return False
    return True
