"""WebSocket: serves one connection whose messages are requests: one after the other, each with its answer.

Two tasks run while a connection does. One reads: it answers pings, and puts up to `ahead` messages into a queue; while
that is full, nothing is read, and TCP holds the client up. The other takes a message, predicts, and waits until the
client has taken the answer. The first of them that ends, or `end`, says with which code the connection is closed:

    1000  as the client asked                          1001  the server drains: what ran was answered
    1002  frames that are none, or not masked          1007  text that is not UTF-8
    1008  too slow, or too many tiny frames            1009  a message over max_request_size
    1011  the server failed                            1013  the server is full, or needs the connection

For a stateful model the connection is one sequence. Its first request is marked as the beginning; when the connection
ends, however that is, one more request with an empty body is marked as the end, so that the handler can forget its
state and the sequence's place is free.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, TypeAlias, cast
from uuid import uuid4

from aiohttp import WebSocketError, WSCloseCode
from aiohttp._websocket.reader import WebSocketDataQueue, WebSocketReader
from aiohttp.streams import EofStream

from ...app_context import AppContext
from ...message.errors import incident
from ...message.ids import fresh_id
from ...message.unsent_answers import UnsentAnswers
from ...predict.predict_request import PredictRequest
from ...predict.prediction import Prediction
from ...predict.spans import CLIENT_GONE
from .answers import MessageWriter, NoAnswer
from .frames import BINARY, CLOSE, PING, PONG, TEXT, FrameWatch, close_frame, frame_head, is_text
from .handshake import Upgrade

if TYPE_CHECKING:
    from contextlib import ExitStack

    from ..aiohttp_protocol import AiohttpProtocol

_READ_AHEAD = 64 * 1024  # bytes of whole messages; at twice as many nothing more is read
_BY_CLIENT = (0, "")
_NEVER_SENT = frozenset((1004, 1005, 1006, 1015))  # RFC 6455 7.4.1

Message: TypeAlias = "tuple[int, bytes, ExitStack]"
End: TypeAlias = "tuple[int, str]"  # a close code, and the reason


class WebSocket:
    """The messages of one connection. `drained` is awaited until the client has taken what was written."""

    def __init__(
        self,
        context: AppContext,
        upgrade: Upgrade,
        connection: AiohttpProtocol,
        unsent: UnsentAnswers,
        drained: Callable[[], Awaitable[None]],
    ) -> None:
        self._context = context
        self._upgrade = upgrade
        self._connection = connection
        self._unsent = unsent
        self._drained = drained
        self._started = perf_counter()
        limits = context.limits
        loop = asyncio.get_running_loop()
        self._incoming = WebSocketDataQueue(connection, _READ_AHEAD, loop=loop)
        self._watch = FrameWatch(self._incoming, limits, lambda: context.dataplane.expect("", None))
        self._messages: asyncio.Queue[Message] = asyncio.Queue(limits.ahead)
        self._end: asyncio.Future[End] = loop.create_future()
        self._running: Prediction | None = None
        self._requests: dict[int, PredictRequest] = {}  # of further messages, by their type
        self._sequence = upgrade.sequence.id if upgrade.sequence is not None else ""
        self._begun = False  # whether a request of the sequence was sent to its model
        self._kind = TEXT
        self._pong: bytes | None = None
        self._pinged = 0.0
        self._worked = monotonic()
        self._over = False

    async def run(self) -> None:
        """Accept the handshake, and serve until the connection ends."""
        context, connection = self._context, self._connection
        request_id = fresh_id()
        self._unsent.write((self._upgrade.answer(request_id, context.default_headers),))
        connection.leave_http(self)
        tasks = [asyncio.ensure_future(each) for each in (self._read(), self._work(), self._look_after())]
        try:
            connection.set_parser(cast(WebSocketReader, self._watch))
            if context.draining:
                self.drain()
            await asyncio.wait((*tasks, self._end), return_when=asyncio.FIRST_COMPLETED)
            code, reason = self._how_it_ends(tasks)
            self._abandon()
            self._unsent.write((close_frame(code, reason) if code else frame_head(CLOSE, 0),))
            if reason:
                await self._part()
        finally:
            for task in tasks:
                task.cancel()
                task.add_done_callback(_looked_at)
            self._abandon()
            self._end_sequence()
            connection.upgraded = None
            context.answered(self._upgrade.asked.head, 101, perf_counter() - self._started, request_id)

    def end(self, code: int, reason: str) -> None:
        """Close the connection with `code`; what runs is given up."""
        if not self._end.done():
            self._end.set_result((code, reason))

    def drain(self) -> None:
        """Close the connection behind the answers to what has arrived."""
        if self._running is None and self._messages.empty():
            self.end(WSCloseCode.GOING_AWAY, "the server stops")

    # ---- Upgraded

    @property
    def idle_since(self) -> float | None:
        busy = self._over or self._running is not None or self._watch.arriving or not self._messages.empty()
        return None if busy else self._worked

    def close_idle(self) -> None:
        self.end(WSCloseCode.TRY_AGAIN_LATER, "the server needs the connection for others")

    # ---- the tasks

    async def _read(self) -> End:
        """Read until the client closes the connection, and return its code. Raises WebSocketError."""
        while True:
            try:
                kind, data, *_ = await self._incoming.read()
            except EofStream:
                return _BY_CLIENT
            if kind == PING:
                self._answer_ping(bytes(data))
            elif kind == CLOSE:
                return (_checked(data), "") if data else _BY_CLIENT
            elif kind in {TEXT, BINARY}:
                held = self._watch.held.popleft()
                if kind == TEXT and not is_text(data):
                    held.close()
                    raise WebSocketError(WSCloseCode.INVALID_TEXT, "a text message must be UTF-8")
                if self._context.draining:
                    held.close()
                else:
                    await self._queue(int(kind), data, held)

    async def _queue(self, kind: int, data: bytes, held: ExitStack) -> None:
        try:
            await self._messages.put((kind, data, held))
        except asyncio.CancelledError:
            held.close()
            self._context.answered(self._request(kind).head, CLIENT_GONE)
            raise

    async def _work(self) -> End:
        """Answer the messages one after the other, until the server drains."""
        while True:
            message = await self._messages.get()
            writer = self._begin(*message)
            await writer.ended()
            self._running = None
            self._worked = monotonic()
            if self._upgrade.sequence is not None and writer.ends_sequence:
                self._sequence, self._begun = f"ts-seq-{uuid4()}", False
                self._requests.clear()
            await asyncio.sleep(0)  # other connections have their turn, and uvloop says what the client has not taken
            await self._drained()
            if not self._connection.connected:  # which ends the wait, too
                return _BY_CLIENT
            if self._pong is not None:
                self._answer_ping(self._pong)
            if self._context.draining and self._messages.empty():
                return WSCloseCode.GOING_AWAY, "the server stops"

    async def _look_after(self) -> End:
        """Ask a silent client whether it is there, and return when it is not, or when it sends too slowly."""
        limits = self._context.limits
        beat = min(limits.ping, limits.pong, limits.body_idle) / 4
        while True:
            await asyncio.sleep(beat)
            now = monotonic()
            if self._connection.reading_paused or self._messages.full():
                self._watch.pardon(now)
            elif slow := self._watch.too_slow(now):
                return WSCloseCode.POLICY_VIOLATION, slow
            if self._pong is not None:
                self._answer_ping(self._pong)
            heard = self._watch.heard
            if self._pinged > heard:
                if now - self._pinged > limits.pong:
                    self._unsent.end()
            elif now - heard > limits.ping and not self._unsent.waiting:
                self._pinged = now
                self._unsent.write((frame_head(PING, 0),))

    def _answer_ping(self, data: bytes) -> None:
        """Send a pong, or keep it until the client has taken what it has to: of several the latest is enough."""
        if self._unsent.waiting:
            self._pong = data
        else:
            self._pong = None
            self._unsent.write((frame_head(PONG, len(data)), data) if data else (frame_head(PONG, 0),))

    # ---- requests

    def _begin(self, kind: int, data: bytes, held: ExitStack) -> MessageWriter:
        writer = MessageWriter(
            self._unsent, kind, self._context.sequence_headers.end, enveloped=self._upgrade.enveloped
        )
        with held:
            self._running = prediction = Prediction(self._context, self._request(kind), writer)
        prediction.open()
        if not prediction.over:
            prediction.submit(data)
        if not prediction.over:  # it was not refused, so that the sequence has begun
            self._begun, self._kind = True, kind
        return writer

    def _request(self, kind: int) -> PredictRequest:
        names, marks = self._context.sequence_headers, {}
        if self._sequence and not self._begun:
            marks = {names.id: self._sequence, names.start: "true"}
            return self._upgrade.request(kind, marks, check_json=self._context.decode_input)
        if kind not in self._requests:
            marks = {names.id: self._sequence} if self._sequence else {}
            self._requests[kind] = self._upgrade.request(kind, marks, check_json=self._context.decode_input)
        return self._requests[kind]

    def _end_sequence(self) -> None:
        """Tell the model that the sequence is over, by a request that nobody waits for."""
        sequence = self._upgrade.sequence
        if sequence is None or not sequence.ends or not self._begun:
            return
        self._begun = False
        names = self._context.sequence_headers
        request = self._upgrade.request(self._kind, {names.id: self._sequence, names.end: "true"}, check_json=False)
        Prediction(self._context, request, NoAnswer()).submit(b"")

    # ---- the end

    def _how_it_ends(self, tasks: list[asyncio.Task[End]]) -> End:
        for each in (self._end, *tasks):
            if not each.done():
                continue
            error = each.exception()
            if error is None:
                return each.result()
            if isinstance(error, WebSocketError):
                return error.code, str(error) or "malformed frames"
            return WSCloseCode.INTERNAL_ERROR, incident(error)
        raise AssertionError("nothing has ended")

    def _abandon(self) -> None:
        """Give up what runs and what waits: their client has left, or is about to be told."""
        self._over = True
        self._watch.close()
        running, self._running = self._running, None
        if running is not None:
            running.abandon()
        while not self._messages.empty():
            kind, _, held = self._messages.get_nowait()
            held.close()
            self._context.answered(self._request(kind).head, CLIENT_GONE)

    async def _part(self) -> None:
        """Wait a moment for the client to close, too: closed at once, it could be reset before it has read why."""
        if self._watch.failed:
            await self._connection.see_off()
            return
        self._connection.resume_reading()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._context.limits.linger):
                await self._watch.closed.wait()


def _checked(code: int) -> int:
    """Return a client's close code. Raises WebSocketError if it may not be sent; aiohttp lets some of these through."""
    if code in _NEVER_SENT or not 1000 <= code < 5000:
        raise WebSocketError(WSCloseCode.PROTOCOL_ERROR, "a close code that may not be sent")
    return code


def _looked_at(task: asyncio.Task[End]) -> None:
    """Look at a task's error, so that asyncio does not report it: the connection has ended for another reason."""
    if not task.cancelled():
        _ = task.exception()
