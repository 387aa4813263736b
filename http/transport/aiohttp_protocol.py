"""AiohttpProtocol: aiohttp's protocol with our answer to malformed HTTP, and bounds on what it parses at a time.

The private attributes of aiohttp that are read here are told of in tests/http/transport/test_aiohttp_internals.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any, Protocol, cast

from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.streams import StreamReader

from ...core.errors import SlowRequest
from ...core.payload import Reply
from ..app_context import AppContext
from ..message.errors import InvalidMessage, error_reply
from ..message.ids import fresh_id
from ..message.malformed_log import MalformedRequestLog
from ..message.peer import Peer
from ..message.request import Head
from ..message.unsent_answers import UnsentAnswers, write
from ..predict.http1_writer import answer_buffers
from .bare_lf import with_crlf
from .half_close import end_our_side
from .head_timer import HeadTimer
from .response_writer import Sent

_SLICE = 8 * 1024  # bytes that are parsed at a time: 3 to 9 ms if all of them are chunks of one byte
_UNREAD = 64 * 1024  # aiohttp parses no further at twice as many bytes, or a 16th as many chunks, that nobody has read
_HTTP2 = b"PRI "  # what every HTTP/2 connection begins with, and no request of HTTP/1
_EMPTY_LINE = b"\r\n\r\n"
_SHORTEST_HEAD = len(b"GET / HTTP/1.0\r\n\r\n")


class Upgraded(Protocol):
    """An interface for what a connection serves once it has left HTTP: a WebSocket."""

    @property
    def idle_since(self) -> float | None:
        """When nothing was going on any more; None if something is."""
        ...

    def close_idle(self) -> None:
        """End the connection, on which nothing is going on."""


class AiohttpProtocol(web.RequestHandler):
    """A connection that aiohttp's parser reads. `received` counts the bytes that it has parsed, framing included.

    Some bytes cost far more time than others: a body in chunks of one byte 0.4 s a MB. So that no packet holds the
    event loop for long, a packet is parsed in slices, and what is left of it when the turn's time is over waits in
    `_ahead` for the next turn. The transport reads nothing meanwhile.
    """

    __slots__ = (
        "_ahead",
        "_begun",
        "_body_left",
        "_broken",
        "_complaints",
        "_content",
        "_context",
        "_end",
        "_going_on",
        "_head",
        "_heard",
        "_http2",
        "_leaving",
        "_refused",
        "_used",
        "peer",
        "received",
        "unsent",
        "upgraded",
    )  # fmt: skip

    def __init__(
        self,
        acceptor: web.Server,
        context: AppContext,
        complaints: MalformedRequestLog,
        http2: Callable[[], asyncio.BaseProtocol],
        *,
        used: bool,
    ) -> None:
        limits = context.limits
        super().__init__(
            acceptor,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=limits.keep_alive,
            access_log=cast(Any, None),
            max_line_size=limits.max_line,
            max_field_size=limits.max_header,
            max_headers=limits.max_headers,
            lingering_time=limits.linger,
            read_bufsize=_UNREAD,
            auto_decompress=False,  # a small gzip body would freeze the loop and fill the memory
        )
        self._context = context
        self._complaints = complaints
        self._http2 = http2
        self._begun = b""  # what may be the beginning of HTTP/2, or of a head without CR
        self._used = used  # whether another protocol has read requests of this connection
        self._broken = False
        self._ahead = b""  # bytes that are not parsed yet
        self._end = b""  # the last 3 bytes that were parsed
        self._body_left = 0  # bytes that are known to be of the latest request's body, and not parsed yet
        self._going_on = False  # whether their turn is scheduled
        self._refused = False  # whether what comes is of no interest any more
        self._leaving = False  # whether the last answer is out, and what still comes is thrown away
        self._content: StreamReader | None = None  # the body of the latest request that was parsed
        self._head = HeadTimer(self, limits.head)
        self._heard = monotonic()
        self.peer: object = None
        self.received = 0
        self.unsent: UnsentAnswers | None = None
        self.upgraded: Upgraded | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # No unsent byte goes unnoticed: `writing_paused` means that the client has not taken its answer yet.
        self.unsent = UnsentAnswers(self._context.unsent, cast(asyncio.Transport, transport))
        self.peer = Peer.of(transport)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.unsent is not None:
            self.unsent.close()
            self.unsent = None
        self._head.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.unsent is not None:
            self.unsent.pause_writing()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.unsent is not None:
            self.unsent.resume_writing()

    def data_received(self, data: bytes) -> None:
        if not self.received and not self._used and data and not self._refused:
            data = self._first_bytes(data)
            if not data:
                return
        if not data:  # aiohttp's way to have its parser go on
            self._parse(data)
        elif self._ahead:
            self._ahead += data
            super()._pause_transport_reading()
        elif not self._refused:
            self._feed(data)
            if self._takes_no_more:
                super()._pause_transport_reading()

    def _first_bytes(self, data: bytes) -> bytes:
        """Return what a connection begins with, once it is seen not to be HTTP/2, which is handed over for good, and
        where its first line ends.
        """
        data, self._begun = self._begun + data, b""
        if data.startswith(_HTTP2):
            self._hand_over(data)
            return b""
        first = None if _HTTP2.startswith(data) else with_crlf(data)
        if first is None:
            self._begun = data
            self._head.begin()
            return b""
        return first

    def _hand_over(self, data: bytes) -> None:
        transport, self.transport = self.transport, None  # which aiohttp would close
        self.connection_lost(None)
        if transport is not None:
            protocol = self._http2()
            transport.set_protocol(protocol)
            protocol.connection_made(transport)
            cast(asyncio.Protocol, protocol).data_received(data)

    @property
    def awaits_head(self) -> bool:
        """Whether nothing but a head is awaited: aiohttp's `_waiter` is there only while it waits for a request."""
        return not self._messages and (self._waiter is not None or self._request_count == 0)

    def refuse_slow_head(self) -> None:
        """Answer 408, and end the connection."""
        transport = self.transport
        if transport is None:
            return
        self._complaints.note(self.peername, "head too slow")
        limit = self._context.limits.head
        error = SlowRequest(f"The head of the request came too slowly: it was not whole after {limit:g} s.")
        self._answer_no_request(transport, error_reply(error))
        self.refuse()
        _ = end_our_side(transport)
        self._loop.call_later(self._context.limits.linger, self.force_close)

    def _feed(self, data: bytes) -> None:
        """Parse `data` as far as this turn's time goes, and aiohttp has room for what comes of it."""
        end = monotonic() + self._context.limits.turn
        at = 0
        while at < len(data):
            if at and (self._reading_paused or self._buffer_paused or monotonic() >= end):
                self._ahead = data[at:]
                super()._pause_transport_reading()
                if not self._reading_paused and not self._buffer_paused:
                    self._go_on_soon()
                return
            cut = self._next_cut(data, at)
            self._parse(data[at:cut])
            if self._refused:
                return
            at = cut

    def _next_cut(self, data: bytes, at: int) -> int:
        """Return where the slice of `data` from `at` on ends: behind a body or an empty line, so that it has one head.

        When aiohttp's parser fails at a head, it loses the requests that it has read in the same call; and behind a
        request that asks for another protocol it loses the rest of what it was given.
        """
        if self._body_left:
            return at + min(self._body_left, _SLICE)
        if at == 0:  # the head may have begun in an earlier packet, and so may its empty line
            begin = self._end + data[:_SHORTEST_HEAD]
            empty = begin.find(_EMPTY_LINE)
            if empty >= 0:
                return empty + len(_EMPTY_LINE) - len(self._end)
        # A body of empty lines must not cost a call each.
        empty = data.find(_EMPTY_LINE, at + _SHORTEST_HEAD - len(_EMPTY_LINE), at + _SLICE + len(_EMPTY_LINE) - 1)
        return empty + len(_EMPTY_LINE) if empty >= 0 else at + _SLICE

    def _go_on_soon(self) -> None:
        if not self._going_on:
            self._going_on = True
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        self._going_on = False
        data, self._ahead = self._ahead, b""
        if self.transport is not None and not self._refused:
            self._feed(data)
        if not self._ahead and not self._reading_paused and not self._buffer_paused and not self._takes_no_more:
            super()._resume_transport_reading()

    def _resume_transport_reading(self) -> None:
        """Read on, now that aiohttp has room again: what is here already comes first."""
        if self._ahead:
            self._go_on_soon()
        elif not self._takes_no_more:
            super()._resume_transport_reading()

    @property
    def _takes_no_more(self) -> bool:
        """Whether a drain has all of the connection's last request: a client that goes on sending is not listened to.

        Its next requests would each be one more that is here behind the one that is answered, for as long as it likes.
        """
        if not self._context.draining or self.upgraded is not None:  # a WebSocket's end is a message of the client's
            return False
        if self._messages:
            return self._messages[-1][1].is_eof()
        request = self._current_request
        return request is not None and request.content.is_eof()

    def _parse(self, data: bytes) -> None:
        self.received += len(data)
        self._heard = monotonic()
        before, left, ending = len(self._messages), self._body_left, self._end + data[-4:]
        between = self._content is None or self._content.is_eof()
        self._end = ending[-3:]
        self._body_left = max(0, left - len(data))
        super().data_received(data)
        if len(self._messages) == before:
            # Where a body of known length ends, the slice does, so that only chunks may have a head behind them.
            behind = not left and self._content is not None and self._content.is_eof()
            if self.upgraded is None and (data.strip(b"\r\n") if between else behind and ending[-4:] != _EMPTY_LINE):
                self._head.begin()
            return
        self._head.end()
        message, content = self._messages[-1]
        self._content = content
        if isinstance(message, RawRequestMessage):
            length = message.headers.get("content-length", "")
            self._body_left = max(0, int(length) - content.total_bytes) if length.isdecimal() else 0
        else:
            self._broken = self._refused = True
            self._ahead = b""
            self.break_body()

    def refuse(self) -> None:
        """Parse nothing more: the connection ends behind the answer that is being given."""
        self._refused = True
        self._ahead = b""

    def break_body(self) -> None:
        """After the parser gave up, end a body that will never be whole; aiohttp would leave its reader waiting."""
        request = self._current_request
        if self._broken and request is not None and not request.content.is_eof():
            request.content.set_exception(web.RequestPayloadError("malformed body"))

    @property
    def idle_since(self) -> float | None:
        """When nothing was going on any more; None if something is."""
        if self.upgraded is not None:
            return self.upgraded.idle_since
        return None if self.busy or self._leaving or self._head.running else self._heard

    def stay_open(self) -> None:
        """Have the connection not end as an idle one: a request is coming."""
        self.keep_alive(True)  # which ends aiohttp's timer, until the next answer

    def leave_http(self, upgraded: Upgraded) -> None:
        """Serve `upgraded` from now on."""
        self.upgraded = upgraded
        self._head.end()

    def close_idle(self) -> None:
        """End the connection, on which nothing is going on."""
        if self.upgraded is not None:
            self.upgraded.close_idle()
        else:
            self.force_close()

    @property
    def reading_paused(self) -> bool:
        """Whether nothing is read, as what has been read was not taken yet."""
        return self._reading_paused or bool(self._ahead)

    @property
    def more(self) -> bool:
        """Whether another request is here, behind the one that is being answered."""
        return bool(self._messages) and not self._refused

    @property
    def busy(self) -> bool:
        """Whether a request is here that has no answer yet; aiohttp's `_waiter` is there only between two requests."""
        if self.transport is None or self._leaving:
            return False
        return bool(self._messages) or self._waiter is None or bool(self._ahead)

    async def see_off(self) -> None:
        """End our side behind the last answer, and throw away what the client still sends, until it leaves.

        To be called where nothing is read: closed at once, a client that has sent more than was read would be reset
        before it had read its answers.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self._leaving = True
        self.refuse()
        _ = end_our_side(transport)
        transport.resume_reading()
        await asyncio.sleep(self._context.limits.linger)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what the parser refused (400), or what aiohttp itself could not finish."""
        self._complaints.note(self.peername, type(exc).__name__)
        reply = error_reply(InvalidMessage() if status == 400 else exc or RuntimeError(message))
        self._answer_no_request(request.transport, reply)
        return Sent(keep_alive=False).as_response()

    def _answer_no_request(self, transport: asyncio.Transport | None, reply: Reply) -> None:
        """Write an answer to what could not be read as a request, and the line of the access log for it."""
        head = Head("GET", "/bad-request", (), self.peername, keep_alive=False)
        self._context.answered(head, reply.status)
        if transport is not None:
            _ = write(transport, answer_buffers(reply, fresh_id(), head, self._context.default_headers, keep=False))

    def log_exception(self, *_args: Any, **kwargs: Any) -> None:
        self._complaints.note(self.peername, type(kwargs.get("exc_info")).__name__)
