"""SecureStream: a blocking TCP connection to a front on another host, encrypted by the keys of a ticket.

It has the three methods of a socket that frames need, and may be read by one thread while others write. OpenSSL allows
no two calls on one connection at a time: so each is made under a lock, and a thread waits for the socket without it.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import tempfile
import threading
from collections.abc import Sequence
from typing import Final

from ..wire.frames import encode
from ..wire.remote_messages import Hello, Ticket
from ..wire.tls_records import AT_ONCE, TlsRecords
from .stream import send

FRONT: Final = "front.torchserve.internal"  # the name in the front's certificate
_PATIENCE: Final = 30.0  # seconds that connecting may take
_JOINED: Final = 1 << 14  # bytes, a record; smaller buffers are joined, as each would be a record of its own


def connect(ticket: Ticket) -> socket.socket | SecureStream:
    """Connect with a ticket and show its nonce. Raises OSError, ssl.SSLError among them."""
    sock = socket.create_connection((ticket.host, ticket.port), timeout=_PATIENCE)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        stream = SecureStream(sock, context_of(ticket), FRONT) if ticket.authority else sock
        sock.settimeout(None)
        send(stream, encode(Hello(ticket.worker, ticket.epoch, ticket.nonce, os.getpid(), socket.gethostname())))
    except BaseException:
        sock.close()
        raise
    return stream


def context_of(ticket: Ticket) -> ssl.SSLContext:
    """Return what proves this process to the front, and knows no other front."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cadata=ticket.authority)
    with tempfile.NamedTemporaryFile("w") as file:  # of mode 600; OpenSSL reads files only
        file.write(ticket.certificate + ticket.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


class SecureStream:
    """A TLS connection that one thread reads while others write."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_hostname: str) -> None:
        """Shake hands over a socket that is connected. Raises OSError, ssl.SSLError among them."""
        self._socket = sock
        self._records = TlsRecords(context, server_hostname)
        self._lock = threading.Lock()  # of the records
        self._sending = threading.Lock()  # records leave in the order in which they were made
        self._inbox = memoryview(bytearray(AT_ONCE))
        while not self._records.shake_hands():
            self._socket.sendall(self._records.take())
            self._receive()
        self._socket.sendall(self._records.take())

    def fileno(self) -> int:
        return self._socket.fileno()

    def recv_into(self, buffer: memoryview) -> int:
        """Wait for bytes, write them at the start of `buffer`, and return their number; 0 at the end of the stream."""
        while True:
            with self._lock:
                count = self._records.decrypt_into(buffer)
                if count or self._records.ended:
                    return count
            self._receive()

    def _receive(self) -> None:
        """Wait for bytes or the end of the stream."""
        received = self._socket.recv_into(self._inbox)
        with self._lock:
            if received:
                self._records.feed(self._inbox[:received])
            else:
                self._records.feed_end()

    def sendmsg(self, buffers: Sequence[memoryview]) -> int:
        """Write the first bytes of `buffers`, at least one, and return their number."""
        parts: list[memoryview] = []
        left = AT_ONCE
        for buffer in buffers:
            parts.append(buffer[:left])
            left -= len(parts[-1])
            if not left:
                break
        if len(parts) > 1 and AT_ONCE - left <= _JOINED:
            parts = [memoryview(b"".join(parts))]
        with self._sending:
            with self._lock:
                for part in parts:
                    self._records.encrypt(part)
                made = self._records.take()
            self._socket.sendall(made)
        return AT_ONCE - left

    def close(self) -> None:
        """Close the connection; a thread that reads it is woken."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
