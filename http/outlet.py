"""TransportOutlet: writes answer bytes straight to a transport, without waiting for the task that reads."""

from __future__ import annotations

import asyncio
from typing import cast

from aiohttp import web
from aiohttp.streams import StreamReader

from ..core.payload import Body

_COPY_UNDER = 16 * 1024  # smaller answers go out in one buffer: joining them costs less than a second system call


class Sent:
    """What aiohttp gets for a response: the bytes are out already, only the connection's fate is left to say."""

    __slots__ = ("keep_alive",)

    def __init__(self, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    def as_response(self) -> web.StreamResponse:
        return cast(web.StreamResponse, cast(object, self))

    async def prepare(self, _request: web.BaseRequest) -> None:
        return None

    async def write_eof(self) -> None:
        return None


class TransportOutlet:
    """predict.Outlet over a transport. `ended` is awaited until the last bytes are handed over."""

    __slots__ = ("_max_unsent", "_over", "_transport", "_waiter", "keep")

    def __init__(self, transport: asyncio.Transport, max_unsent: int) -> None:
        self._transport = transport
        self._max_unsent = max_unsent
        self._waiter: asyncio.Future[None] | None = None
        self._over = False
        self.keep = False

    def send(self, buffers: tuple[Body, ...], *, last: bool, keep: bool) -> None:
        write(self._transport, buffers)
        if last:
            self.keep = keep
            self._over = True
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)
        elif self._transport.get_write_buffer_size() > self._max_unsent:
            self._transport.abort()  # aiohttp then cancels the request, as for any client that leaves

    async def ended(self) -> None:
        if not self._over:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter


def write(transport: asyncio.Transport, buffers: tuple[Body, ...]) -> None:
    """Queue bytes for sending; a client that has gone makes this do nothing."""
    if transport.is_closing():
        return
    if len(buffers) == 1:
        transport.write(buffers[0])
    elif sum(map(len, buffers)) < _COPY_UNDER:
        transport.write(b"".join(buffers))
    else:
        transport.writelines(buffers)


def half_close(transport: asyncio.Transport, content: StreamReader) -> None:
    """End our side, so that a client still sending sees its answer; aiohttp reads on for a moment, then closes."""
    if not content.is_eof() and not transport.is_closing() and transport.can_write_eof():
        transport.write_eof()
