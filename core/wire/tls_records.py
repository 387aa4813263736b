"""TlsRecords: one end of a TLS connection without I/O: makes records of plain bytes, and plain bytes of records.

OpenSSL on a socket makes a system call for each record of 16 KiB that it writes, and two for each that it reads;
asyncio encrypts all of a body before it sends any of it, while the loop stands. Here it is the caller who says how much
is encrypted at a time, and sends it by one call, so that the other end decrypts while this one encrypts.

May import nothing of ours but core.payload.
"""

from __future__ import annotations

import ssl
from typing import Final, cast

from ..payload import Body

AT_ONCE: Final = 1 << 18  # bytes to encrypt between two writes; a socket's buffer holds several of them


class TlsRecords:
    """The records of one end. Not for two threads at a time."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str | None = None) -> None:
        """Begin as the client of a server of that name, or as the server."""
        self._received, self._made = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(
            self._received, self._made, server_side=server_hostname is None, server_hostname=server_hostname
        )
        self.ended = False  # the other end has said that nothing more comes, or its stream is at its end

    def feed(self, data: Body) -> None:
        """Take bytes that were received."""
        self._received.write(data)

    def feed_end(self) -> None:
        """Note that the stream is at its end."""
        self._received.write_eof()

    def shake_hands(self) -> bool:
        """Go on with the handshake, and return whether it is over. Raises ssl.SSLError."""
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def encrypt(self, data: Body) -> None:
        """Make records of `data`; see `take`. Raises ssl.SSLError."""
        self.object.write(data)

    def end(self) -> None:
        """Make the record that says that nothing more comes."""
        try:
            self.object.unwrap()
        except ssl.SSLError:  # that the other end has not said so, too
            return

    def take(self) -> bytes:
        """Return the bytes to send."""
        return self._made.read()

    def decrypt_into(self, buffer: memoryview) -> int:
        """Write what has come at the start of `buffer`, and return how many bytes that is. Raises ssl.SSLError."""
        filled = 0
        size = len(buffer)
        read = self.object.read
        try:
            while filled < size:
                count = cast("int", read(size - filled, buffer[filled:]))  # one record at most
                if not count:
                    self.ended = True
                    break
                filled += count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLEOFError:
            self.ended = True
        return filled
