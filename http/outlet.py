"""Writing answer bytes straight to a transport, past aiohttp's own responses."""

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
