"""FastHttpProtocol: reads the plainest prediction requests without aiohttp, for a fraction of its cost.

Only what is whole, well-formed and unambiguous at a glance is read here. Anything else, malformed requests included,
goes to aiohttp's protocol with the bytes as they came, and the connection stays there. What a prediction does is
predict.py's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import cast

from ...core.errors import ServeError, SlowRequest
from ...core.payload import Body
from ..app_context import AppContext
from ..message.peer import Peer
from ..message.unsent_answers import UnsentAnswers
from ..predict.http1_writer import Http1Writer
from ..predict.predict_request import PredictRequest, read_request
from ..predict.prediction import Prediction
from ..routing.fast_head import fast_head
from ..routing.table import Table
from ..site_policy import Reach
from .arriving_body import ArrivingBody
from .placed_bodies import WORTH_PLACING, PlacedBodies
from .plain_head import LONGEST_HEAD, read_plain

_SWEEPS = 4  # looks at each connection per shortest time limit


class FastHttpProtocol(asyncio.Protocol, Http1Writer):
    """A connection; also the ResponseWriter of the prediction that it is at."""

    __slots__ = (
        "_acceptor", "_arrival", "_ended", "_known", "_peer", "_placed", "_prediction", "_rest", "_since", "_transport",
        "_unread", "_unsent", "_used", "context",
    )  # fmt: skip

    def __init__(self, acceptor: FastHttpFactory) -> None:
        self._acceptor = acceptor
        self.context = acceptor.context
        self._transport: asyncio.Transport | None = None
        self._prediction: Prediction | None = None
        self._arrival: ArrivingBody | None = None
        self._placed: PlacedBodies | None = None  # reads in this protocol's place while large bodies come
        self._peer: object = None
        # The latest head, its body's length and what it asks for: most clients send the same head again and again.
        self._known: tuple[bytes, int, PredictRequest] | None = None
        self._rest = b""  # what came behind the request that is being answered
        self._unread = False  # whether bytes of this request, or behind it, may be on the way or in the kernel
        self._ended = False  # our side is closed; what still comes is of no interest
        self._since = monotonic()  # when the connection fell idle
        self._used = False  # whether a request has been read
        self._unsent: UnsentAnswers | None = None  # there is one as long as there is a transport

    # ---- asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._unsent = UnsentAnswers(self.context.unsent, self._transport)
        self._peer = Peer.of(transport)  # once, for every request's line in the access log
        self._acceptor.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self._arrived()
        if self._prediction is not None:
            prediction, self._prediction = self._prediction, None
            prediction.abandon()

    def _leave(self) -> None:
        self._acceptor.connections.discard(self)
        self._transport = None
        if self._unsent is not None:
            self._unsent.close()
            self._unsent = None
        self._placed = None  # it refers to this object

    def pause_writing(self) -> None:
        if self._unsent is not None:
            self._unsent.pause_writing()

    def resume_writing(self) -> None:
        if self._unsent is not None:
            self._unsent.resume_writing()
            if self._rest:
                self._go_on()

    def data_received(self, data: bytes) -> None:
        unsent, context = self._unsent, self.context
        if unsent is None or self._ended:
            return
        # What was sent ahead comes first, and nothing is read while the client leaves answers unread.
        if self._prediction is not None or self._rest or unsent.waiting:
            self._keep(data)
            return
        known = self._known
        if known is None or not data.startswith(known[0]):
            known = self._learn(data)
            if known is None:
                self._hand_over(data)
                return
        head, length, request = known
        begin = len(head)
        body = data[begin : begin + length]
        if len(data) > begin + length:
            self._rest = data[begin + length :]
        self._unread = len(body) < length
        prediction = self._prediction = Prediction(context, request, self)
        self._used = True
        if request.refusal is not None or context.token_auth is not None:
            prediction.open(unread=self._unread)
            if prediction.over:
                return
        if self._unread:
            self._arrive(prediction, body, length)
        else:
            prediction.submit(body)
            if length >= WORTH_PLACING:
                self._place_next()

    def _keep(self, data: bytes) -> None:
        """Keep what is sent ahead: a client may send its next request early, not its next hundred; in a drain, what is
        here already.
        """
        self._rest += data
        if self._transport is not None and (len(self._rest) > LONGEST_HEAD or self.context.draining):
            self._transport.pause_reading()

    def _learn(self, data: bytes) -> tuple[bytes, int, PredictRequest] | None:
        """Read the head that `data` begins with, and remember it if nothing is wrong with it.

        Returns the head, the length of its body, and what it asks for; None if it is not a plain prediction's.
        """
        self._known = None
        acceptor = self._acceptor
        plain = read_plain(acceptor.heads, data, self._peer, self.context.limits.max_request_size)
        if plain is None:
            return None
        head, begin, length = plain
        found = acceptor.table.find_prediction(head.path())
        if found is None:
            return None
        route, params = found
        learnt = data[:begin], length, read_request(self.context, head, acceptor.reach, route, params)
        if learnt[2].refusal is None:
            self._known = learnt
        return learnt

    def _arrive(self, prediction: Prediction, body: Body, length: int, room: memoryview | None = None) -> None:
        """Receive the rest of a body that begins with `body`, which lies in `room` if that is given."""
        try:
            where = prediction.request.room(length) if room is None else room
            arriving = ArrivingBody(self, prediction.expect(), length, where)
            arriving.begin(body, lies_there=room is not None)
        except ServeError as error:
            prediction.fail(error, unread=True)
            return
        self._arrival = arriving
        if self._placed is None:
            self._listen(arriving)
        else:
            self._placed.arrival = arriving

    def whole(self, body: Body) -> None:
        """Submit the body that was arriving: it is whole."""
        self._arrived()
        if self._prediction is not None:
            self._prediction.submit(body)
            if self._placed is None and isinstance(body, memoryview):
                self._place_next()

    def refused(self, error: ServeError) -> None:
        """Answer with `error`: the body that was arriving will not be read to its end."""
        self._arrived()
        if self._prediction is not None:
            self._prediction.fail(error, unread=True)

    def _arrived(self) -> None:
        """End the arrival: what comes is read by this protocol again."""
        if self._arrival is not None:
            arrival, self._arrival = self._arrival, None
            arrival.end()
            if self._placed is None:
                self._listen(self)
            else:
                self._placed.arrival = None

    # ---- large bodies behind the same head

    def _place_next(self) -> None:
        """Have the next body read to where its worker reads it, if it comes behind the same head as this one."""
        if self._known is None or self._rest or self._ended or not self._known[2].head.keep_alive:
            return
        placed = PlacedBodies(self, *self._known)
        if placed.has_room():
            self._placed = placed
            self._listen(placed)

    @property
    def reads_ahead(self) -> bool:
        """Whether what comes now is of a request that may not be read yet, or of none."""
        unsent = self._unsent
        return self._ended or self._prediction is not None or unsent is None or unsent.waiting

    def placed(self, request: PredictRequest, room: memoryview, received: int) -> None:
        self._unread = received < len(room)
        prediction = self._prediction = Prediction(self.context, request, self)
        prediction.open(unread=self._unread)
        if prediction.over:
            return
        if self._unread:
            self._arrive(prediction, room[:received], len(room), room)
        else:
            prediction.submit(room)

    def read_as_usual(self, data: bytes) -> None:
        self._placed = None
        self._listen(self)
        self.data_received(data)

    def _listen(self, protocol: asyncio.BaseProtocol) -> None:
        """Have what comes go to `protocol`. Transports look at the kind of a protocol when they begin to read."""
        transport = self._transport
        if transport is not None and not transport.is_closing():
            transport.pause_reading()
            transport.set_protocol(protocol)
            transport.resume_reading()

    def _hand_over(self, data: bytes) -> None:
        """Give the connection to aiohttp for good, which sees the request as it came."""
        transport = self._transport
        assert transport is not None
        self._leave()
        transport.resume_reading()
        protocol = self._acceptor.full(used=self._used)
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        cast("asyncio.Protocol", protocol).data_received(data)

    # ---- Http1Writer

    def send(self, buffers: tuple[Body, ...], *, last: bool, keep: bool) -> None:
        transport, unsent = self._transport, self._unsent
        if transport is None or unsent is None:
            return
        unsent.write(buffers)
        if not last:
            return
        if unsent.hold is not None:
            unsent.end_hold()
        self._prediction = None
        if not keep:
            self._end(transport)
            return
        self._since = monotonic()
        if self._rest:
            self._go_on()

    def send_chunk(self, chunk: bytes) -> None:
        if self._unsent is not None:
            self._unsent.write_chunk(chunk)

    def _go_on(self) -> None:
        """Read the request that was sent ahead, in the next turn of the loop.

        Reading it at once would go one level deeper into the stack for each request that is answered without waiting.
        """
        asyncio.get_running_loop().call_soon(self._next)

    @property
    def more(self) -> bool:
        return bool(self._rest)

    @property
    def full(self) -> bool:
        unsent = self._unsent
        return unsent is not None and unsent.waiting and unsent.full

    def until_taken(self, remaining: Callable[[], float], go_on: Callable[[], None]) -> None:
        if self._unsent is not None:
            self._unsent.until_taken(remaining, go_on)

    def _end(self, transport: asyncio.Transport) -> None:
        if self._unread or not transport.is_reading():
            # Closed at once, a client that still sends would be reset before it had read its answer.
            if transport.can_write_eof():
                transport.write_eof()
            self._ended = True
            transport.resume_reading()
            asyncio.get_running_loop().call_later(self.context.limits.linger, transport.close)
        else:
            transport.close()

    def _next(self) -> None:
        taken = self._unsent is not None and not self._unsent.waiting
        if self._prediction is None and self._transport is not None and taken and self._rest:
            data, self._rest = self._rest, b""
            if not self.context.draining:
                self._transport.resume_reading()
            self.data_received(data)

    # ---- time limits

    @property
    def busy(self) -> bool:
        """Whether a request has no answer yet, or the client has not taken all of it."""
        if self._transport is None:
            return False
        return self._prediction is not None or bool(self._rest) or self._transport.get_write_buffer_size() > 0

    def look(self, now: float) -> None:
        """End what takes too long. Called every now and then."""
        limits = self.context.limits
        if self._transport is None:
            return
        if self._arrival is not None and self._prediction is not None:
            idle = limits.drain_idle if self.context.draining else limits.body_idle
            late = self._arrival.late(now, limits, idle)
            if late:
                self.refused(SlowRequest(late))
        elif self._prediction is None and now - self._since > limits.keep_alive:
            self._transport.close()

    @property
    def idle_since(self) -> float | None:
        """When nothing was going on any more; None if something is."""
        return None if self.busy or self._ended else self._since

    def close_idle(self) -> None:
        """End the connection, on which nothing is going on."""
        self.close()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class FastHttpFactory:
    """A factory of protocols for a listener that predicts; `full` makes the protocol that they may hand over to."""

    def __init__(
        self, full: Callable[..., asyncio.BaseProtocol], context: AppContext, table: Table, reach: Reach
    ) -> None:
        self.full = full
        self.context = context
        self.table = table
        self.heads = fast_head(table.routes)
        self.reach: Reach = reach
        self.connections: set[FastHttpProtocol] = set()
        limits = context.limits
        self._interval = min(limits.keep_alive, limits.body_idle, limits.body_grace) / _SWEEPS
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._sweep)

    def __call__(self) -> asyncio.Protocol:
        return FastHttpProtocol(self)

    @property
    def busy(self) -> bool:
        return any(connection.busy for connection in self.connections)

    def drain(self) -> None:
        """Look more often, as the limit of a body without progress is shorter from now on."""
        self._interval = min(self._interval, self.context.limits.drain_idle / _SWEEPS)
        self._timer.cancel()
        self._sweep()

    def close(self) -> None:
        self._timer.cancel()
        for connection in list(self.connections):
            connection.close()

    def _sweep(self) -> None:
        now = monotonic()
        for connection in list(self.connections):
            connection.look(now)
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._sweep)
