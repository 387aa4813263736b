"""TlsTransport: large frames both ways over a real socket, a reader that pauses, and how a connection ends."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from torchserve.core.backend.secure_stream import FRONT, SecureStream, context_of
from torchserve.core.backend.stream import send
from torchserve.core.wire.remote_messages import Ticket
from torchserve.core.workers.remote.one_time_keys import OneTimeKeys
from torchserve.core.workers.remote.tls_transport import TlsTransport

from ...doubles import until

SIZE = 3_000_000
BODY = os.urandom(SIZE)


class Keeper(asyncio.BufferedProtocol):
    """A protocol that keeps what it is told."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.received = bytearray()
        self.pauses: list[bool] = []
        self.lost: list[Exception | None] = []
        self._room = memoryview(bytearray(1 << 20))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._room

    def buffer_updated(self, nbytes: int) -> None:
        self.received += self._room[:nbytes]

    def pause_writing(self) -> None:
        self.pauses.append(True)

    def resume_writing(self) -> None:
        self.pauses.append(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Keeper, SecureStream]]:
    keys, keeper = OneTimeKeys(), Keeper()
    key = keys.issue("W-1")
    ticket = Ticket("W-1", 1, "", 0, "", keys.authority, key.certificate, key.key)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: TlsTransport(keys.context, keeper), "127.0.0.1", 0)
    sock = await asyncio.to_thread(socket.create_connection, server.sockets[0].getsockname())
    stream = await asyncio.to_thread(SecureStream, sock, context_of(ticket), FRONT)
    await until(lambda: keeper.transport is not None)
    yield keeper, stream
    keeper.transport.abort()
    stream.close()
    server.close()
    await until(lambda: keeper.lost)


def read(stream: SecureStream, size: int) -> bytes:
    room = memoryview(bytearray(size))
    at = 0
    while at < size and (count := stream.recv_into(room[at:])):
        at += count
    return bytes(room[:at])


async def test_bodies_go_both_ways_at_once(pair: tuple[Keeper, SecureStream]) -> None:
    keeper, stream = pair
    writing = asyncio.ensure_future(asyncio.to_thread(send, stream, [b"head", BODY, b"tail"]))
    keeper.transport.writelines([b"h", BODY, b"", memoryview(BODY)])
    got = await asyncio.to_thread(read, stream, 2 * SIZE + 1)
    await writing
    await until(lambda: len(keeper.received) == SIZE + 8)
    assert digest(got) == digest(b"h" + BODY + BODY)
    assert digest(keeper.received) == digest(b"head" + BODY + b"tail")


async def test_nothing_is_handed_over_while_the_reader_pauses(pair: tuple[Keeper, SecureStream]) -> None:
    keeper, stream = pair
    keeper.transport.pause_reading()
    writing = asyncio.ensure_future(asyncio.to_thread(send, stream, [BODY] * 4))
    keeper.transport.write(b"go on")
    assert await asyncio.to_thread(read, stream, 5) == b"go on", "the other way is open"
    assert not keeper.received
    keeper.transport.resume_reading()
    await writing
    await until(lambda: len(keeper.received) == 4 * SIZE)
    assert digest(keeper.received) == digest(BODY * 4)


async def test_a_writer_is_told_to_wait_while_the_other_end_takes_nothing(pair: tuple[Keeper, SecureStream]) -> None:
    keeper, stream = pair
    keeper.transport.writelines([BODY] * 4)
    assert keeper.pauses == [True]
    assert digest(await asyncio.to_thread(read, stream, 4 * SIZE)) == digest(BODY * 4)
    await until(lambda: keeper.pauses == [True, False])


async def test_a_close_sends_what_waits_first(pair: tuple[Keeper, SecureStream]) -> None:
    keeper, stream = pair
    keeper.transport.write(BODY)
    keeper.transport.close()
    assert keeper.transport.is_closing()
    keeper.transport.write(b"late")
    assert digest(await asyncio.to_thread(read, stream, SIZE + 100)) == digest(BODY)
    assert await asyncio.to_thread(read, stream, 1) == b""
    await until(lambda: keeper.lost == [None])


async def test_garbage_ends_the_connection_and_is_named(pair: tuple[Keeper, SecureStream]) -> None:
    keeper, stream = pair
    with contextlib.suppress(OSError):
        stream._socket.sendall(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    await until(lambda: keeper.lost)
    assert "SSL" in type(keeper.lost[0]).__name__
    assert not keeper.received


def digest(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()
