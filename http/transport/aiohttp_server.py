"""AiohttpServer: makes the protocols of the connections that aiohttp reads, and counts them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias, cast

from aiohttp import web

from ..app_context import AppContext
from ..message.malformed_log import MalformedRequestLog
from .aiohttp_protocol import AiohttpProtocol

Handler: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class AiohttpServer(web.Server):
    """A factory of AiohttpProtocols for the clients of one listener; `http2` makes the protocol of HTTP/2."""

    def __init__(self, handler: Handler, context: AppContext, http2: Callable[[], asyncio.BaseProtocol]) -> None:
        # handler_cancellation: a client that leaves cancels its request, which takes it out of its model's queue
        super().__init__(handler, handler_cancellation=True)
        self.open = 0  # connections; `connections` makes a list of them
        self._context = context
        self._complaints = MalformedRequestLog()
        self._http2 = http2

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        self.open += 1
        super().connection_made(handler, transport)

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self.open -= 1
        super().connection_lost(handler, exc)

    def __call__(self, *, used: bool = False) -> web.RequestHandler:
        """Return the protocol of a connection, of which another one has read requests if it is `used`."""
        return AiohttpProtocol(self, self._context, self._complaints, self._http2, used=used)

    @property
    def busy(self) -> bool:
        return any(cast(AiohttpProtocol, connection).busy for connection in self.connections)
