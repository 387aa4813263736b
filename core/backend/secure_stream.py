"""SecureStream: a blocking TCP connection to a front on another host, encrypted by the keys of a ticket.

It has the three methods of a socket that frames need, and may be read by one thread while others write. OpenSSL allows
no two calls on one connection at a time, and Python before 3.13 doesn't see to that: so the socket itself never blocks,
each call to OpenSSL is made under a lock, and a thread waits for the socket without it.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
import tempfile
import threading
from collections.abc import Sequence
from typing import Final

from ..wire.frames import encode
from ..wire.remote_messages import Hello, Ticket
from .stream import send

FRONT: Final = "front.torchserve.internal"  # the name in the front's certificate
_PATIENCE: Final = 30.0  # seconds that connecting may take
_AT_ONCE: Final = 1 << 20  # bytes that one call encrypts, while which nobody can read
_JOINED: Final = 1 << 16  # bytes; smaller buffers are joined, as each write is a TLS record of its own


def connect(ticket: Ticket) -> socket.socket | SecureStream:
    """Connect with a ticket and show its nonce. Raises OSError, ssl.SSLError among them."""
    sock = socket.create_connection((ticket.host, ticket.port), timeout=_PATIENCE)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if ticket.authority:
        stream = SecureStream(_encrypted(sock, ticket))
    else:
        sock.settimeout(None)
        stream = sock
    hello = Hello(ticket.worker, ticket.epoch, ticket.nonce, os.getpid(), socket.gethostname())
    send(stream, encode(hello))
    return stream


def _encrypted(sock: socket.socket, ticket: Ticket) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=ticket.authority)
    with tempfile.NamedTemporaryFile("w") as file:  # of mode 600; OpenSSL reads files only
        file.write(ticket.certificate + ticket.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context.wrap_socket(sock, server_hostname=FRONT)


class SecureStream:
    """A TLS connection that one thread reads while others write."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._lock = threading.Lock()

    def fileno(self) -> int:
        return self._socket.fileno()

    def recv_into(self, buffer: memoryview) -> int:
        """Wait for bytes, write them at the start of `buffer`, and return their number; 0 at the end of the stream."""
        while True:
            with self._lock:
                try:
                    return self._socket.recv_into(buffer)
                except ssl.SSLWantReadError:
                    wanted = select.POLLIN
                except ssl.SSLWantWriteError:
                    wanted = select.POLLOUT
                except ssl.SSLEOFError:
                    return 0
            self._wait(wanted)

    def sendmsg(self, buffers: Sequence[memoryview]) -> int:
        """Write the first bytes of `buffers`, at least one, and return their number."""
        data = buffers[0][:_AT_ONCE]
        if len(data) < _JOINED and len(buffers) > 1:
            some: list[memoryview] = []
            size = 0
            for buffer in buffers:
                some.append(buffer[: _JOINED - size])
                size += len(some[-1])
                if size == _JOINED:
                    break
            data = memoryview(b"".join(some))
        while True:
            with self._lock:
                try:
                    return self._socket.send(data)
                except ssl.SSLWantReadError:
                    wanted = select.POLLIN
                except ssl.SSLWantWriteError:
                    wanted = select.POLLOUT
                except ssl.SSLEOFError as error:
                    raise BrokenPipeError(str(error)) from error
            self._wait(wanted)

    def close(self) -> None:
        """Close the connection; a thread that reads it is woken."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _wait(self, wanted: int) -> None:
        waiting = select.poll()
        waiting.register(self._socket.fileno(), wanted)
        waiting.poll()
