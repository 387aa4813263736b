"""The end of our side of a connection whose client may still be sending."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp.streams import StreamReader


def end_our_side(transport: asyncio.Transport) -> bool:
    """End our side of a connection: a client that still sends sees its answer. Return False where TLS can't.

    The caller closes it a moment later: closed at once, the client would be reset before it had read why.
    """
    if not transport.can_write_eof():
        return False
    with contextlib.suppress(OSError):  # the client has left already
        transport.write_eof()
    return True


def half_close(transport: asyncio.Transport, content: StreamReader) -> None:
    """End our side if the client may still be sending; aiohttp reads on for a moment, then closes."""
    if not content.is_eof() and not transport.is_closing():
        _ = end_our_side(transport)
