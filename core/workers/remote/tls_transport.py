"""TlsTransport: asyncio's transport of an encrypted connection, made for large frames.

asyncio's own encrypts all that it is given before it sends any of it: 16 MiB hold the loop for tens of milliseconds,
and the other end has nothing to decrypt meanwhile. This one encrypts a quarter of a MiB in a turn of the loop, once the
socket has taken the last one, and decrypts to where the bytes stay.

    Worker, MinderLink ◄── plain bytes ── TlsTransport ◄── records ── uvloop's transport of the socket
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable
from typing import Any, cast

from ...wire.tls_records import AT_ONCE, TlsRecords

_JOINED = 1 << 14  # bytes, a record; smaller buffers are joined, as each would be a record of its own


class TlsTransport(asyncio.Transport, asyncio.BufferedProtocol):
    """The server's end of one connection. The protocol is told of it once the handshake is over."""

    def __init__(self, context: ssl.SSLContext, protocol: asyncio.BufferedProtocol) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._records = TlsRecords(context)
        self._raw: asyncio.Transport | None = None
        self._inbox = memoryview(bytearray(AT_ONCE))
        self._backlog: deque[memoryview] = deque()
        self._established = False
        self._writable = True  # the socket takes more
        self._waiting = False  # the protocol was told to pause
        self._paused = False  # by the protocol
        self._closing = False
        self._error: Exception | None = None

    # ---- the protocol's side (asyncio.Transport)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._records.object
        return default if self._raw is None else self._raw.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.BufferedProtocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing or self._raw is None or self._raw.is_closing()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writelines((data,))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        if self._closing:
            return
        self._backlog.extend(memoryview(data).cast("B") for data in list_of_data if len(data))
        self._encrypt()
        if self._backlog and not self._waiting:
            self._waiting = True
            self._protocol.pause_writing()

    def pause_reading(self) -> None:
        self._paused = True
        if self._raw is not None:
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self._raw is not None:
            self._raw.resume_reading()
            self._loop.call_soon(self._decrypt)  # what had come before

    def close(self) -> None:
        """Close the connection once all is sent."""
        self._closing = True
        if not self._backlog and self._raw is not None and not self._raw.is_closing():
            self._records.end()
            self._raw.write(self._records.take())
            self._raw.close()

    def abort(self) -> None:
        self._closing = True
        self._backlog.clear()
        if self._raw is not None:
            self._raw.abort()

    # ---- the socket's side (asyncio.BufferedProtocol)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast("asyncio.Transport", transport)
        self._raw.set_write_buffer_limits(high=AT_ONCE)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._inbox

    def buffer_updated(self, nbytes: int) -> None:
        self._records.feed(self._inbox[:nbytes])
        try:
            if not self._established:
                self._shake_hands()
            if self._established:
                self._decrypt()
        except ssl.SSLError as error:
            self._fail(error)

    def eof_received(self) -> bool:
        return False  # the transport closes itself

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._encrypt()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        self._backlog.clear()
        self._protocol.connection_lost(self._error or exc)

    # ---- records

    def _shake_hands(self) -> None:
        assert self._raw is not None
        self._established = self._records.shake_hands()
        if made := self._records.take():
            self._raw.write(made)
        if self._established:
            self._protocol.connection_made(self)

    def _encrypt(self) -> None:
        """Encrypt and send a part of what waits, if the socket takes it; the rest has its turn after other work."""
        if not self._backlog or not self._writable or self._raw is None:
            return
        for part in self._next():
            self._records.encrypt(part)
        self._raw.write(self._records.take())
        if self._backlog:
            self._loop.call_soon(self._encrypt)  # nothing happens then if the socket takes no more
            return
        if self._waiting:
            self._waiting = False
            self._protocol.resume_writing()
        if self._closing:
            self.close()

    def _next(self) -> list[memoryview]:
        """Remove and return what is encrypted at once."""
        parts: list[memoryview] = []
        left = AT_ONCE
        while left and self._backlog:
            first = self._backlog.popleft()
            if len(first) > left:
                self._backlog.appendleft(first[left:])
                first = first[:left]
            left -= len(first)
            parts.append(first)
        if len(parts) > 1 and AT_ONCE - left <= _JOINED:
            return [memoryview(b"".join(parts))]
        return parts

    def _decrypt(self) -> None:
        """Hand over what has come, as long as the protocol reads."""
        try:
            while not self._paused and not self._closing:
                buffer = memoryview(self._protocol.get_buffer(-1))
                count = self._records.decrypt_into(buffer)
                if count:
                    self._protocol.buffer_updated(count)
                if self._records.ended:
                    self.close()
                if not count or count < len(buffer):
                    return
        except ssl.SSLError as error:
            self._fail(error)

    def _fail(self, error: ssl.SSLError) -> None:
        self._error = error
        if self._raw is not None and (told := self._records.take()):
            self._raw.write(told)  # an alert, by which the other end knows why
            self._raw.close()
        self.abort()
