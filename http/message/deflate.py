"""Compresses answers for the clients that ask for it: by an Accept-Encoding that names gzip or deflate alone.

A list of codings is what client libraries send by themselves. It is no wish: compressing tensors costs more time than
sending them, on any network that models are served in.
"""

from __future__ import annotations

import zlib
from typing import Final

from msgspec.structs import replace

from ...core.payload import Reply

AT_ONCE: Final = 32 * 1024  # bytes that the event loop compresses: 0.5 ms
_WORTH: Final = 512  # bytes; less gets longer
_LEVEL: Final = 1
_WINDOWS: Final = {"gzip": 31, "deflate": 15}


def coding_asked_for(field: str) -> str:
    """Return the coding that an Accept-Encoding asks for, "" for none."""
    coding = field.strip().lower()
    return coding if coding in _WINDOWS else ""


def worth_compressing(reply: Reply) -> bool:
    """Return whether an answer gets any shorter, and nobody has encoded it already."""
    return len(reply.body) >= _WORTH and all(name.lower() != "content-encoding" for name, _ in reply.headers)


def compressed(reply: Reply, coding: str) -> Reply:
    """Return the answer with its body compressed."""
    engine = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOWS[coding])
    body = engine.compress(reply.body) + engine.flush()
    return replace(reply, body=body, headers=(*reply.headers, ("Content-Encoding", coding)))
