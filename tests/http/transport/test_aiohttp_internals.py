"""What the front relies on in aiohttp beyond its documented interface, in one place; `newest` in CI runs this with the next aiohttp.

The protocol of the aiohttp path is a subclass of `web.RequestHandler`, and reads three of its private attributes:

- `_messages`, a deque of (message, payload): what the parser has read and no request was made of yet. A message that is no
  `RawRequestMessage` means that the parser gave up; a body that is still being read will then never be whole.
- `_current_request`: the request that is being answered, whose body is failed in that case. None between two.
- `_waiter`: a future while the connection waits for its next request, None while one is answered. A drain closes a connection only
  between two requests.

A WebSocket rests on three more names: `_message.upgrade` of a request says that the parser has seen a handshake, and parses nothing
behind it; `set_parser` has the protocol hand what comes from then on to an object with `feed_data`; and
`aiohttp._websocket.reader.WebSocketDataQueue` takes what a `WebSocketReader` reads. `test_websocket_frames.py` sees them work.

If one of these tests fails, look for what took the attribute's place before the cap in pyproject.toml is raised.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.http import RawRequestMessage

ATTRIBUTES = ("_messages", "_current_request", "_waiter")


class Watched(web.RequestHandler):
    """Counts what the parser puts into `_messages`."""

    __slots__ = ("parsed",)

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)
        self.parsed: list[object] = []

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.parsed += [message for message, _ in self._messages]


class Server:
    """One connection to a server whose handler waits for `gate`."""

    def __init__(self) -> None:
        self.gate, self.asked = asyncio.Event(), asyncio.Event()
        self.seen: web.BaseRequest | None = None
        self.broken: BaseException | None = None
        self._server = web.Server(self.answer)
        self.protocol = Watched(self._server, loop=asyncio.get_running_loop())

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.seen = request
        self.asked.set()
        await self.gate.wait()
        return web.Response(text="here")


@asynccontextmanager
async def server() -> AsyncIterator[tuple[Server, asyncio.StreamReader, asyncio.StreamWriter]]:
    made = Server()
    listener = await asyncio.get_running_loop().create_server(lambda: made.protocol, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
    try:
        yield made, reader, writer
    finally:
        made.gate.set()
        writer.close()
        await writer.wait_closed()
        listener.close()
        await made.protocol.shutdown(1.0)


async def waits(made: Server) -> None:
    async with asyncio.timeout(60):
        while not isinstance(made.protocol._waiter, asyncio.Future):
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("name", ATTRIBUTES)
async def test_it_is_there(name: str) -> None:
    assert hasattr(web.RequestHandler(web.Server(Server().answer), loop=asyncio.get_running_loop()), name)


async def test_a_connection_waits_in_a_future_between_requests_and_has_none_while_it_answers() -> None:
    async with server() as (made, reader, writer):
        await waits(made)
        assert made.protocol._current_request is None
        assert made.protocol._messages == deque()
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await made.asked.wait()
        assert made.protocol._waiter is None
        assert made.protocol._current_request is made.seen
        made.gate.set()
        assert (await reader.readuntil(b"here")).startswith(b"HTTP/1.1 200")
        await waits(made)
        assert made.protocol._current_request is None


async def test_what_the_parser_gives_up_on_is_a_message_of_another_kind() -> None:
    async with server() as (made, reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await made.asked.wait()
        assert [type(message) for message in made.protocol.parsed] == [RawRequestMessage]
        writer.write(b"NONSENSE\r\n\r\n")
        async with asyncio.timeout(60):
            while len(made.protocol.parsed) < 2:
                await asyncio.sleep(0.001)
        assert not isinstance(made.protocol.parsed[-1], RawRequestMessage)
        made.gate.set()
        assert b"400 Bad Request" in await reader.read()
