"""Ending our side of a connection, on real sockets."""

from __future__ import annotations

import asyncio
import socket
import struct

from torchserve.http.transport.half_close import end_our_side


async def connected() -> tuple[asyncio.Transport, socket.socket]:
    """A transport of ours and the client's socket."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, accepted)
    return transport, client


async def test_a_client_sees_the_end_and_may_go_on_sending() -> None:
    transport, client = await connected()
    with client:
        transport.write(b"answer")
        assert end_our_side(transport)
        assert await asyncio.to_thread(client.recv, 100) == b"answer"
        assert await asyncio.to_thread(client.recv, 100) == b""
        client.sendall(b"more")
    transport.close()


async def test_a_client_that_reset_the_connection_is_no_error() -> None:
    transport, client = await connected()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its close is a reset
    client.close()
    assert end_our_side(transport), "asyncio's shutdown of the socket fails, as the loop has not looked at it since"
    transport.abort()
