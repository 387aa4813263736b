"""Listener: who is let in, and that everyone else is refused soon, costs little and is told of in the log."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from torchserve.core.backend.secure_stream import SecureStream, connect
from torchserve.core.wire.frames import encode
from torchserve.core.wire.remote_messages import Alive, Hello, Ticket
from torchserve.core.workers.remote.listener import Listener, Taker
from torchserve.core.workers.remote.one_time_keys import OneTimeKeys
from torchserve.core.workers.remote.tickets import Tickets

from ...doubles import until


class Door:
    """A listener with short patience, and the tickets to it. `taken` are the connections that were let in."""

    def __init__(self, *, encrypted: bool) -> None:
        self.tickets: Tickets[Taker] = Tickets()
        self.keys = OneTimeKeys() if encrypted else None
        self.listener = Listener(self.tickets, self.keys.context if self.keys else None, patience=0.5, most=2)
        self.port = 0
        self.taken: list[asyncio.Transport] = []
        self.opened: list[Any] = []

    def ticket(self, worker: str = "W-1") -> Ticket:
        epoch = self.tickets.next_epoch()
        key = self.keys.issue(worker) if self.keys else None
        nonce = self.tickets.issue(worker, epoch, key.fingerprint if key else "", self._take)
        plain = Ticket(worker, epoch, "127.0.0.1", self.port, nonce)
        if self.keys is None or key is None:
            return plain
        return msgspec.structs.replace(plain, authority=self.keys.authority, certificate=key.certificate, key=key.key)

    def _take(self, transport: asyncio.Transport, hello: Hello) -> None:
        transport.set_protocol(asyncio.Protocol())
        self.taken.append(transport)

    async def come(self, ticket: Ticket) -> bool:
        """Connect with a ticket, and return whether the connection still stands once it has been judged."""
        before = len(self.taken)
        try:
            stream = await asyncio.to_thread(connect, ticket)
        except OSError:
            return False
        self.opened.append(stream)
        ended = asyncio.ensure_future(asyncio.to_thread(_ended, stream))
        await until(lambda: ended.done() or len(self.taken) > before)
        if not ended.done():
            self.taken[-1].abort()
            await ended
            return True
        return False


def _ended(stream: socket.socket | SecureStream) -> None:
    try:
        stream.recv_into(memoryview(bytearray(1)))
    except OSError:
        return


@pytest.fixture(params=[True, False], ids=["encrypted", "plain"])
async def door(request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    made = Door(encrypted=request.param)
    made.port = await made.listener.open("127.0.0.1")
    yield made
    for transport in made.taken:
        transport.abort()
    await made.listener.close()
    for stream in made.opened:
        stream.close()


async def test_a_nonce_is_good_once(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    ticket = door.ticket()
    assert await door.come(ticket)
    assert not await door.come(ticket)
    assert "its nonce was used before (a replay)" in caplog.text


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"nonce": "guessed"}, "its nonce was never issued by this front"),
        ({"worker": "W-2"}, "its nonce was issued to W-1, epoch 1"),
        ({"epoch": 7}, "its nonce was issued to W-1, epoch 1"),
    ],
)
async def test_who_shows_another_nonce_or_name_is_refused(
    door: Door, change: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    ticket = door.ticket()
    assert not await door.come(msgspec.structs.replace(ticket, **change))
    assert why in caplog.text
    assert await door.come(ticket), "its owner may still come"


async def test_a_start_that_was_given_up_is_told_from_a_stranger(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    late = door.ticket()
    door.tickets.withdraw(late.nonce)
    assert not await door.come(late)
    assert "it belongs to a start that was given up (an old epoch)" in caplog.text


async def test_keys_of_another_worker_or_another_front_open_nothing(caplog: pytest.LogCaptureFixture) -> None:
    door, other = Door(encrypted=True), Door(encrypted=True)
    door.port = await door.listener.open("127.0.0.1")
    mine, second, foreign = door.ticket(), door.ticket("W-2"), other.ticket()
    for certificate, key in ((second.certificate, second.key), (foreign.certificate, foreign.key)):
        assert not await door.come(msgspec.structs.replace(mine, certificate=certificate, key=key))
    assert "its key is not the one that its nonce was issued with" in caplog.text
    assert not await door.come(msgspec.structs.replace(mine, authority=foreign.authority)), "it knows no such front"
    assert await door.come(mine)
    await door.listener.close()
    for stream in door.opened:
        stream.close()


@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"TSW1" + b"\xff" * 12, b"".join(map(bytes, encode(Alive())))]
)
async def test_who_says_nothing_or_something_else_is_refused(
    door: Door, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
    writer.write(said)
    await _read_to_end(reader)
    writer.close()
    await until(lambda: "as a remote worker is refused" in caplog.text)
    assert await door.come(door.ticket())


async def test_only_so_many_connections_may_be_silent(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    silent = [await asyncio.open_connection("127.0.0.1", door.port) for _ in range(3)]
    for reader, writer in silent:
        await _read_to_end(reader)
        writer.close()
    assert "2 connections have shown no nonce yet" in caplog.text
    assert await door.come(door.ticket())


async def test_a_crowd_of_strangers_does_not_fill_the_log(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(14):
        reader, writer = await asyncio.open_connection("127.0.0.1", door.port)
        writer.write(b"x" * 16)
        await _read_to_end(reader)
        writer.close()
    assert caplog.text.count("is refused") == 10


async def _read_to_end(reader: asyncio.StreamReader) -> None:
    try:
        async with asyncio.timeout(60):
            while await reader.read(1024):
                pass
    except ConnectionError:
        return
