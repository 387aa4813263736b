"""AiohttpHandler: reads requests that aiohttp has parsed, bodies included, and writes the answers.

A client that leaves shows as the cancellation of its request (aiohttp's handler_cancellation).
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING, cast

from aiohttp import web
from aiohttp.streams import StreamReader

from ...core.errors import SlowRequest
from ...core.payload import Body
from ..app_context import AppContext
from ..message.errors import InvalidMessage
from ..message.ids import fresh_id
from ..message.live import LiveReply, Outlet
from ..message.request import Head, Request, by_lower_name, media_type
from ..message.unsent_answers import UnsentAnswers
from ..predict.http1_writer import Http1Writer, answer_buffers
from ..predict.predict_request import PredictRequest, awaits_continue, check_declared, check_size
from ..predict.prediction import Prediction
from ..predict.spans import CLIENT_GONE
from ..routing.router import Router
from ..routing.table import Match
from .aiohttp_protocol import AiohttpProtocol
from .half_close import half_close
from .response_writer import Sent
from .websocket.connection import WebSocket
from .websocket.handshake import Upgrade, read_upgrade

if TYPE_CHECKING:
    from ...core.dataplane import Arrival

# aiohttp's parser lets HTTP/0.9 and HTTP/2.0 through as well, and codings in front of `chunked`, which nobody decodes.
_VERSIONS = frozenset(((1, 0), (1, 1)))
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class AiohttpHandler:
    """A handler of the requests of one listener. `active` counts those that have no answer yet."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self._context = context = router.context
        self._limits = context.limits
        self._clocks: set[asyncio.Timeout] = set()  # of the bodies that are on their way
        self._websockets: set[WebSocket] = set()
        self.active = 0

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """aiohttp's request handler."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        connection = cast(AiohttpProtocol, request.protocol)
        coding = request.headers.get("transfer-encoding")
        if request.version not in _VERSIONS or (coding is not None and coding.lower() != "chunked"):
            connection.refuse()
            refusal = connection.handle_error(request, 400)
            half_close(transport, request.content)
            return refusal
        head = Head(
            request.method, request.raw_path, request.raw_headers, connection.peer,
            "1.1" if request.version >= (1, 1) else "1.0",
            # Chunks are unknown to HTTP/1.0: a proxy in between may see another end of this body.
            request.keep_alive and (coding is None or request.version >= (1, 1)),
        )  # fmt: skip
        self.active += 1
        try:
            asked = self.router.look_up(head)
            upgrade = None
            if isinstance(asked, PredictRequest) and head.method == "GET" and _asks_for_websocket(request):
                try:
                    upgrade = read_upgrade(self.router, asked)
                except Exception as error:  # noqa: BLE001  (the client is owed an answer, whatever broke)
                    asked = replace(asked, refusal=error)
            if upgrade is not None:
                keep = await self._websocket(upgrade, connection, request.writer.drain)
            elif isinstance(asked, PredictRequest):
                keep = await self._predict(asked, request.content, connection, transport)
            else:
                keep = await self._route(head, asked, request.content, connection, transport)
            if connection.writing_paused:
                await request.writer.drain()  # context.unsent ends a client that takes nothing any more
        finally:
            self.active -= 1
        if not keep and request.content.is_eof() and not transport.is_reading():
            await connection.see_off()
        return Sent(keep).as_response()

    def drain(self) -> None:
        """End the bodies that make no progress sooner: the server is about to stop."""
        soon = asyncio.get_running_loop().time() + self._limits.drain_idle
        for websocket in self._websockets:
            websocket.drain()
        for clock in self._clocks:
            if not clock.expired():
                clock.reschedule(min(clock.when() or soon, soon))

    async def _predict(
        self, asked: PredictRequest, content: StreamReader, connection: AiohttpProtocol, transport: asyncio.Transport
    ) -> bool:
        if connection.unsent is None:
            raise ConnectionResetError
        writer = AiohttpResponseWriter(self._context, connection, connection.unsent)
        prediction = Prediction(self._context, asked, writer)
        prediction.open(unread=not content.is_eof())
        try:
            if not prediction.over:
                await self._submit(prediction, content, connection, transport)
            await writer.ended()
        except asyncio.CancelledError:
            prediction.abandon()
            raise
        if not writer.keep:
            _part(connection, transport, content, asked.fields)
        return writer.keep

    async def _submit(
        self, prediction: Prediction, content: StreamReader, connection: AiohttpProtocol, transport: asyncio.Transport
    ) -> None:
        try:
            if content.is_eof():
                body = content.read_nowait()
            else:
                with prediction.expect() as arrival:
                    if prediction.request.awaits_continue:
                        transport.write(_CONTINUE)
                    body = await self._read_body(content, connection, arrival)
        except Exception as error:  # noqa: BLE001  (the client is owed an answer, whatever broke)
            if transport.is_closing():
                prediction.abandon()
                raise ConnectionResetError from None
            prediction.fail(as_ours(error), unread=True)
        else:
            prediction.submit(body)

    async def _websocket(
        self, upgrade: Upgrade, connection: AiohttpProtocol, drained: Callable[[], Awaitable[None]]
    ) -> bool:
        if connection.unsent is None:
            raise ConnectionResetError
        websocket = WebSocket(self._context, upgrade, connection, connection.unsent, drained)
        self._websockets.add(websocket)
        try:
            await websocket.run()
        finally:
            self._websockets.discard(websocket)
        return False

    async def _route(
        self,
        head: Head,
        matches: list[Match],
        content: StreamReader,
        connection: AiohttpProtocol,
        transport: asyncio.Transport,
    ) -> bool:
        unread = not content.is_eof()
        started = perf_counter()
        fields = by_lower_name(head.headers())
        try:
            endpoint, params = self.router.find(head, fields, matches)
            check_declared(fields, self._limits.max_request_size)
            query = head.query()
            if unread and awaits_continue(fields):
                transport.write(_CONTINUE)
            if unread:
                with self._context.dataplane.expect("", None) as arrival:
                    body = await self._read_body(content, connection, arrival)
            else:
                body = content.read_nowait()
            unread = False
            content_type = media_type(fields.get("content-type", ""))
            result = endpoint(self._context, Request(head.method, params, query, content_type, body, head))
            if isinstance(result, LiveReply):
                return await self._live(head, result, connection, started)
            reply = await asyncio.shield(self.router.begin(result)) if inspect.isawaitable(result) else result
        except asyncio.CancelledError:
            self._context.answered(head, CLIENT_GONE, perf_counter() - started)
            raise
        except Exception as error:  # noqa: BLE001  (the client is owed an answer, whatever broke)
            if transport.is_closing():
                self._context.answered(head, CLIENT_GONE, perf_counter() - started)
                raise ConnectionResetError from None
            reply = self.router.error_reply(head, as_ours(error))
        ends = self._context.draining and not connection.more
        keep = head.keep_alive and not ends and not unread
        request_id = fresh_id()
        self._context.answered(head, reply.status, perf_counter() - started, request_id)
        buffers = answer_buffers(reply, request_id, head, self._context.default_headers, keep=keep)
        if connection.unsent is not None:
            connection.unsent.write(buffers)
        if not keep:
            _part(connection, transport, content, fields)
        return keep

    async def _live(self, head: Head, live: LiveReply, connection: AiohttpProtocol, started: float) -> bool:
        """Send a live answer until it has ended; a client that leaves cancels this."""
        unsent = connection.unsent
        if unsent is None:
            live.leave()
            raise ConnectionResetError
        writer = AiohttpResponseWriter(self._context, connection, unsent)
        outlet = Outlet(writer, head, behind=lambda: unsent.waiting, drop=unsent.end)
        request_id = fresh_id()
        try:
            outlet.begin(live.first, request_id)
            live.join(outlet)
            await writer.ended()
        finally:
            outlet.over = True
            live.leave()
        self._context.answered(head, live.first.status, perf_counter() - started, request_id)
        return writer.keep

    async def _read_body(self, content: StreamReader, connection: AiohttpProtocol, arrival: Arrival) -> bytes:
        """Return the rest of a body, which `arrival` counts as it comes.

        Raises TooLarge, ServerFull, SlowRequest, InvalidMessage, and ConnectionError if the client leaves.
        """
        loop, limits = asyncio.get_running_loop(), self._limits
        began = loop.time()
        pieces: list[bytes] = []
        size = 0
        wire = connection.received
        connection.break_body()
        clock = asyncio.timeout_at(began + (limits.drain_idle if self._context.draining else limits.body_idle))
        try:
            async with clock:
                self._clocks.add(clock)
                while not content.at_eof():
                    piece = await content.readany()
                    if not piece:
                        continue
                    pieces.append(piece)
                    size += len(piece)
                    check_size(size, limits.max_request_size)
                    arrival.grow(len(piece))
                    if connection.received - wire - size > size // 2 + limits.chunk_slack:
                        raise InvalidMessage  # a flood of tiny chunks: each costs far more time than its bytes
                    too_slow = began + limits.body_grace + size / limits.body_rate
                    idle = limits.drain_idle if self._context.draining else limits.body_idle
                    clock.reschedule(min(loop.time() + idle, too_slow))
        except TimeoutError:
            spent = loop.time() - began
            raise SlowRequest(f"The request body came too slowly: {size} bytes in {spent:.1f} s.") from None
        finally:
            self._clocks.discard(clock)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


class AiohttpResponseWriter(Http1Writer):
    """A ResponseWriter for a connection that aiohttp reads. `ended` is awaited until the last bytes are handed over."""

    __slots__ = ("_connection", "_over", "_unsent", "_waiter", "context", "keep", "until_taken")

    def __init__(self, context: AppContext, connection: AiohttpProtocol, unsent: UnsentAnswers) -> None:
        self.context = context
        self._connection = connection
        self._unsent = unsent
        self.until_taken = unsent.until_taken
        self._waiter: asyncio.Future[None] | None = None
        self._over = False
        self.keep = False

    @property
    def more(self) -> bool:
        return self._connection.more

    @property
    def full(self) -> bool:
        return self._unsent.full

    def send(self, buffers: tuple[Body, ...], *, last: bool, keep: bool) -> None:
        self._unsent.write(buffers)
        if last:
            self._unsent.end_hold()
            self.keep = keep
            self._over = True
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    async def ended(self) -> None:
        if not self._over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


def _asks_for_websocket(request: web.BaseRequest) -> bool:
    """Return whether aiohttp's parser has seen a handshake: it keeps what follows, and parses none of it."""
    upgrade = request.headers.get("upgrade", "").strip().lower()
    return upgrade == "websocket" and request._message.upgrade and request.content.is_eof()  # noqa: SLF001


def _part(
    connection: AiohttpProtocol, transport: asyncio.Transport, content: StreamReader, fields: Mapping[str, str]
) -> None:
    """End our side behind the last answer. A body whose length is not known would only be parsed to be thrown away."""
    if "content-length" not in fields:
        connection.refuse()
    half_close(transport, content)


def as_ours(error: Exception) -> Exception:
    """Return InvalidMessage for aiohttp's errors about a body (a chunk that is none, too few bytes), else `error`."""
    return InvalidMessage() if isinstance(error, (web.RequestPayloadError, web.PayloadAccessError)) else error
