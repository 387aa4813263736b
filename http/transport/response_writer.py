"""Writing answer bytes straight to a transport, past aiohttp's own responses."""

from __future__ import annotations

from typing import cast

from aiohttp import web


class Sent:
    """A stand-in for a response: the bytes are out already; aiohttp learns only whether the connection stays."""

    __slots__ = ("keep_alive",)

    def __init__(self, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    def as_response(self) -> web.StreamResponse:
        return cast(web.StreamResponse, cast(object, self))

    async def prepare(self, _request: web.BaseRequest) -> None:
        return None

    async def write_eof(self) -> None:
        return None
