"""Connection: the server's side of one HTTP/2 connection, without I/O (RFC 9113).

A driver calls `receive` with what has come, `look` every now and then, and `lost` at the end. After each call, and
whenever `wake` was called, it sends what `outbox.take` returns. What the client asks for becomes calls of an
Application and of its StreamHandlers; their answers become bytes in the outbox. `now` is in seconds of any clock that
does not go backwards.

A connection:

    preface ──► open ──► draining ──────────► done            `drain`: GOAWAY with the highest id there is, and a PING.
                  │          │ PING's answer    ▲             Its answer shows that the client has seen the first
                  │          │ or a second: ────┤             GOAWAY, so that a second one can name the last stream
                  │          │ GOAWAY(last)     │ no streams  that is served, and no request is lost between them.
                  └──────────┴── fault: GOAWAY(code, why) ──► over: nothing is read any more

A stream, as seen from here. Streams are forgotten when both sides have ended; an id that is not known and not above the
last one is one of these, or was never used:

    idle ─HEADERS─► open ─END_STREAM─► half-closed (remote) ─our END_STREAM─► closed
                     │                        │
                     ├─our END_STREAM─► closed, lingering ─too long, too much─► RST_STREAM(NO_ERROR)
                     ├─RST_STREAM of the client─► closed
                     └─a fault of the stream, or `reset`─► RST_STREAM(code) ──► closed, ignoring

`lingering` and `ignoring`: what the client still sends is read for its effect on the header table and on the windows,
and is else ignored; closed_streams.py says how long. On any other closed stream DATA is answered with
RST_STREAM(STREAM_CLOSED), and HEADERS end the connection.

Faults come in two sizes: StreamFault ends one stream, ConnectionFault the connection. Priorities are ignored, as RFC
9113 advises, but for their syntax.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ...message.limits import Limits
from . import control
from .budget import Budget
from .errors import ConnectionFault, ErrorCode, StreamFault
from .frame_reader import FrameReader
from .frames import (
    DEFAULT_WINDOW,
    INITIAL_WINDOW_SIZE,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_HEADER_LIST_SIZE,
    MOST_STREAM,
    MOST_WINDOW,
    PING,
    WINDOW_UPDATE,
    frame,
    goaway,
    settings,
    window_update,
)
from .outbox import Outbox
from .stream import Application
from .stream_table import StreamTable

log = logging.getLogger(__name__)

_DRAIN_PING = b"draining"
_DRAIN_WAIT = 1.0  # seconds for a client to answer the PING of a drain
_EARNED = 3.0  # frames of control for each request that was answered: a client may well acknowledge and ask for each


class Connection:
    """A connection. `application` is called for each request; `refused` for each that never gets there.

    `refused` gets the status that the client was sent, or 400 where its stream or its connection was ended, and why.
    `wake` is called when there is something to send and `receive` is not running, for the first of it only.
    """

    def __init__(
        self,
        limits: Limits,
        application: Application,
        wake: Callable[[], None],
        refused: Callable[[int, str], None],
        peer: object = None,
        now: float = 0.0,
    ) -> None:
        own = limits.http2
        self.peer = peer
        self.now = now
        self.outbox = Outbox(wake, limits.max_unsent, self._dribbled)
        self.streams = StreamTable(self, limits, application, refused)
        self.draining = False
        self.over = False
        self._limits = limits
        self._refused = refused
        self._reader = FrameReader(self.streams, self, own)
        self._resets = Budget(own.resets, own.resets_rate)
        self._control = Budget(own.control, own.control_rate)
        self._heard = now  # when bytes came
        self._part_since: float | None = now  # when what is not whole yet began to come
        self._drain_until: float | None = None
        values = {
            MAX_CONCURRENT_STREAMS: own.max_streams, INITIAL_WINDOW_SIZE: own.stream_window,
            MAX_FRAME_SIZE: own.max_frame, MAX_HEADER_LIST_SIZE: own.max_header_list,
        }  # fmt: skip
        self.outbox.put(settings(values), window_update(0, own.connection_window - DEFAULT_WINDOW))

    # ---- the driver

    def receive(self, data: bytes, now: float) -> None:
        """Read what has come; b"" goes on with what is here already. Nothing is raised, whatever comes."""
        self.now = now
        if self.over:
            return
        if data:
            self._heard = now
        try:
            self._reader.read(data)
        except ConnectionFault as fault:
            self.fail(fault)
        if not self._reader.partial:
            self._part_since = None
        elif self._part_since is None or self._reader.moved:
            self._part_since = now

    @property
    def more(self) -> bool:
        """Whether frames are here that were left for a later call of `receive`, so as not to hold the event loop."""
        return self._reader.more and not self.over

    @property
    def done(self) -> bool:
        """Whether the connection is to be closed once what is in the outbox was sent."""
        return self.over or (self.draining and self._drain_until is None and not self.streams.open)

    @property
    def idle_since(self) -> float | None:
        """When the last stream was closed; None while there is one, or something is coming."""
        return None if self.streams.open or self._part_since is not None else self.streams.idle_since

    def look(self, now: float) -> None:
        """End what takes too long: an incomplete frame or header block, and answers that the client holds up."""
        self.now = now
        if self.over:
            return
        if self._drain_until is not None and now >= self._drain_until:
            self._finish_drain()
        self.streams.closed.look(now)
        limits = self._limits
        if self._part_since is not None:
            late = (
                now - self._heard > limits.body_idle if self._reader.in_data else now - self._part_since > limits.head
            )
            if late:
                self.fail(ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a frame, or a header block, came too slowly"))
                return
        try:
            for stream in list(self.streams.open.values()):
                if stream.stalled(now) > limits.write_stall:
                    self.streams.end(stream, StreamFault(ErrorCode.CANCEL, "the client took nothing of its answer"))
        except ConnectionFault as fault:
            self.fail(fault)

    def drain(self) -> None:
        """Have the client open no more streams, and end the connection once those that are open have ended."""
        if self.over or self.draining:
            return
        self.draining = True
        self._drain_until = self.now + _DRAIN_WAIT
        self.outbox.put(goaway(MOST_STREAM, ErrorCode.NO_ERROR), frame(PING, 0, 0, _DRAIN_PING))

    def _finish_drain(self) -> None:
        """Tell the client which stream is the last that is served."""
        self._drain_until = None
        self.streams.last_served = self.streams.last_id
        self.outbox.put(goaway(self.streams.last_id, ErrorCode.NO_ERROR))

    @property
    def settling(self) -> bool:
        """Whether a drain waits for the client to have seen it, as requests may be on their way."""
        return self._drain_until is not None and not self.over

    def close(self) -> None:
        """End the connection at once. GOAWAY says which requests were not looked at."""
        if not self.over:
            self.over = True
            self.outbox.put(goaway(self.streams.last_id, ErrorCode.NO_ERROR))
            self.streams.abort_all("the server has closed the connection")

    def lost(self) -> None:
        """Note that the client is gone."""
        self.over = True
        self.streams.abort_all("the connection is lost")

    def fail(self, fault: ConnectionFault) -> None:
        """End the connection: GOAWAY with the cause, and nothing is read any more."""
        if self.over:
            return
        self.over = True
        log.debug("HTTP/2 connection of %s ended: %s (%s)", self.peer, fault.text, fault.code.name)
        self.outbox.put(goaway(self.streams.last_id, fault.code, fault.text))
        self._refused(400, fault.text)
        self.streams.abort_all(fault.text)

    # ---- frames that carry nothing of a request

    def control_came(self, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
        """Take such a frame."""
        self.spend_control()
        if kind == WINDOW_UPDATE and not stream_id and len(payload) == 4:
            # As in `control.receive`, of which this saves the calls: grpcio's clients send one with every call.
            size = int.from_bytes(payload) & MOST_WINDOW
            if size:
                self.outbox.widen(size)
                return
        control.receive(self, kind, flags, stream_id, payload)

    def ping_answered(self, payload: bytes) -> None:
        """Note the answer to a PING: of a drain it shows that the client has seen GOAWAY."""
        if payload == _DRAIN_PING and self._drain_until is not None:
            self._finish_drain()

    def client_leaves(self) -> None:
        """Note the client's GOAWAY: the connection ends once its streams have."""
        self.draining = True

    # ---- budgets

    def _earn(self) -> None:
        """Give the client some of its budgets back, for the requests that were answered since the last call."""
        answered, self.streams.answered = self.streams.answered, 0
        if not answered:
            return
        self._resets.earn(answered)
        self._control.earn(answered * _EARNED)

    def spend_reset(self) -> None:
        """Count a stream that came to nothing. Raises ConnectionFault."""
        self._earn()
        if not self._resets.spend(self.now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many streams are reset before they are answered")

    def spend_control(self) -> None:
        """Count a frame that carries nothing of a request. Raises ConnectionFault."""
        self._earn()
        if self._control.spend(self.now):
            return
        # Frames of bodies, either way, call for such frames: WINDOW_UPDATE, and PING to measure the line.
        bodies, self.outbox.body_frames = self.outbox.body_frames, 0
        self._control.earn(bodies * _EARNED)
        if not self._control.spend(self.now):
            raise ConnectionFault(ErrorCode.ENHANCE_YOUR_CALM, "too many frames carry nothing of a request")

    def _dribbled(self) -> None:
        try:
            self.spend_control()
        except ConnectionFault as fault:
            self.fail(fault)
