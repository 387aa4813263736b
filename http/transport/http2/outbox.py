"""Outbox: what one connection has to send, and flow control over it (RFC 9113, section 5.2).

Frames that carry no body go out at once. A body waits on its stream while one of these holds, and `pump` takes a frame
of each waiting stream in turn:

- the client has not opened the stream's window, or the connection's, far enough;
- the transport is `blocked`, so that small answers don't queue up behind a large one that is in its buffer already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from ....core.payload import Body
from .errors import ConnectionFault, ErrorCode
from .frames import (
    DATA,
    DEFAULT_WINDOW,
    END_HEADERS,
    END_STREAM,
    LEAST_MAX_FRAME,
    MOST_WINDOW,
    AnswerFrames,
    header_frames,
    pack_head,
)

_ROOM = 256 * 1024  # bytes of bodies that one `pump` takes
_LARGEST = 256 * 1024  # bytes of one DATA frame, whatever the client accepts: other streams have their turn behind it
_SMALL = 128  # bytes: frames under this that the client's windows make so small cost it some of its budget
_MOST_REPLIES = (
    1000  # frames that answer the client's (ACKs of PING, RST_STREAM), and wait with all else for the client
)
_NO_DYNAMIC_TABLE = b"\x20"  # of HPACK: the size of our dynamic table is 0. It is said in our first header block.


class WaitingBody(Protocol):
    """An interface for a stream with a body that waits."""

    id: int
    window: int  # bytes that the client takes of it
    queued: int  # bytes that wait
    ready: bool  # whether it is in the outbox's line
    over: bool  # whether the stream was closed meanwhile

    @property
    def ends_here(self) -> bool:
        """Whether nothing follows what `cut` has returned."""
        ...

    def cut(self, most: int) -> tuple[list[Body], int]:
        """Remove at most `most` bytes from the body, and return their buffers and their number."""
        ...

    def was_sent(self) -> None:
        """Go on behind what was cut."""


class Outbox:
    """The bytes that a connection has to send. `wake` is called when there are some again.

    `waiting` is the number of bytes of bodies that wait under flow control, of all streams, and `kept` the number of
    bytes of their buffers, each of which is kept until its last byte is sent.
    """

    __slots__ = (
        "_began",
        "_dribble",
        "_out",
        "_ready",
        "_replies",
        "_wake",
        "awake",
        "blocked",
        "body_frames",
        "initial_window",
        "kept",
        "max_frame",
        "max_unsent",
        "waiting",
        "window",
    )

    def __init__(self, wake: Callable[[], None], max_unsent: int, dribble: Callable[[], None]) -> None:
        self._wake = wake
        self._out: list[Body] = []
        self._ready: deque[WaitingBody] = deque()  # bodies that wait for nothing but their turn
        self._replies = 0
        self._began = False
        self._dribble = dribble
        self.awake = False  # whether the driver knows that there is something to take
        self.blocked = False
        self.initial_window = self.window = DEFAULT_WINDOW
        self.max_frame = LEAST_MAX_FRAME
        self.max_unsent = max_unsent
        self.waiting = 0
        self.kept = 0
        self.body_frames = 0  # DATA, not too small, that was sent or came since this was last set back

    # ---- what goes out at once

    def put(self, *pieces: Body) -> None:
        """Send these bytes, which are whole frames."""
        self._out += pieces
        if not self.awake:  # as in `stir`, of which this saves the call
            self.awake = True
            self._wake()

    def put_reply(self, frame: bytes) -> None:
        """Send a frame that the client's frames call for. Raises ConnectionFault where it takes none of them."""
        self._replies += 1
        if self._replies > _MOST_REPLIES:
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames call for answers that are not read")
        self.put(frame)

    def put_headers(self, stream_id: int, block: bytes, flags: int) -> None:
        """Send a header block."""
        if not self._began:
            self._began = True
            block = _NO_DYNAMIC_TABLE + block
        self.put(header_frames(stream_id, block, flags, self.max_frame))

    def put_answer(self, stream_id: int, frames: AnswerFrames, buffers: tuple[Body, ...], size: int) -> bool:
        """Send a whole answer, of whose body the client takes `size` bytes on its stream. Return whether that is
        possible now, in one frame.
        """
        if size > self.window or size > self.max_frame or self.blocked or not self._began:
            return False
        self.window -= size
        self.body_frames += 1
        self._out += (
            frames.begin(frames.begin_size, END_HEADERS, stream_id, frames.head, size << 8 | DATA, 0, stream_id),
            *buffers,
            frames.end(frames.end_size, END_HEADERS | END_STREAM, stream_id, frames.trailers),
        )
        if not self.awake:
            self.awake = True
            self._wake()
        return True

    def take(self) -> list[Body]:
        """Return what there is to send, and forget it."""
        out, self._out = self._out, []
        self.awake = False
        if not self.blocked:
            self._replies = 0
        return out

    def stir(self) -> None:
        """Wake the driver although there is nothing to send: it may have to close the connection."""
        if not self.awake:
            self.awake = True
            self._wake()

    # ---- bodies

    def ready(self, stream: WaitingBody) -> None:
        """Have a stream that waits with a body take part in `pump`."""
        if not stream.ready:
            stream.ready = True
            self._ready.append(stream)
            self.stir()

    def pump(self) -> bool:
        """Send what flow control lets pass, up to a bound, and return whether anything was sent."""
        sent = 0
        while self._ready and not self.blocked and sent < _ROOM:
            stream = self._ready[0]
            size = min(self.max_frame, _LARGEST, stream.window, self.window)
            if size <= 0 and stream.window > 0 and not stream.over:
                break  # all of them wait for the connection's window
            _ = self._ready.popleft()
            if size <= 0 or stream.over:
                stream.ready = False
                continue
            sent += self._put_body(stream, size)
            if stream.queued:
                self._ready.append(stream)
            else:
                stream.ready = False
        return sent > 0

    def _put_body(self, stream: WaitingBody, most: int) -> int:
        """Send one DATA frame of at most `most` bytes. Return its size."""
        pieces, size = stream.cut(most)
        self.waiting -= size
        self.window -= size
        stream.window -= size
        flags = END_STREAM if stream.ends_here else 0
        self.put(pack_head(size << 8 | DATA, flags, stream.id), *pieces)
        stream.was_sent()
        if stream.queued and size < _SMALL:  # a client opens its windows by a few bytes at a time (CVE-2019-9511)
            self._dribble()
        else:
            self.body_frames += 1
        return size

    def widen(self, size: int) -> None:
        """Note that the client takes `size` bytes more on all streams together. Raises ConnectionFault."""
        self.window += size
        if self.window > MOST_WINDOW:
            raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, "the connection's window is over 2^31-1 bytes")
        if self._ready:
            self.stir()
