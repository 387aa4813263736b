"""One message on its way through the frames."""

from __future__ import annotations

from typing import Any

import msgspec

from torchserve.core.wire.frames import Frame, FrameReader, encode


def read(kind: Any, sent: msgspec.Struct, *bodies: bytes) -> Frame[Any] | None:
    """Return what a reader of messages of this kind makes of what was sent."""
    reader: FrameReader[Any] = FrameReader(kind, 1 << 20)
    for data in encode(sent, bodies):
        reader.get_buffer()[: len(data)] = data
        reader.buffer_updated(len(data))
    return reader.next_frame()
