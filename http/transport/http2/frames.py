"""Frames as bytes (RFC 9113, sections 4 and 6): their types and flags, and writing them."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from .errors import ErrorCode

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)

END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
PRIORITIZED = 0x20

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = (
    range(1, 7)
)

HEAD_SIZE = 9
LEAST_MAX_FRAME = 1 << 14
MOST_MAX_FRAME = (1 << 24) - 1
DEFAULT_WINDOW = (1 << 16) - 1
MOST_WINDOW = MOST_STREAM = (1 << 31) - 1

_head = struct.Struct(">IBI")
_settings = struct.Struct(">HI")
# The first field of a head is the length and the type: (length << 8) | type.
pack_head = _head.pack
unpack_head = _head.unpack_from


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """Return a whole frame."""
    return pack_head(len(payload) << 8 | kind, flags, stream_id) + payload


def header_frames(stream_id: int, block: bytes, flags: int, max_frame: int) -> bytes:
    """Return HEADERS with the header block and, if it is over `max_frame` bytes, CONTINUATION behind it."""
    if len(block) <= max_frame:
        return pack_head(len(block) << 8 | HEADERS, flags | END_HEADERS, stream_id) + block
    made = [frame(HEADERS, flags, stream_id, block[:max_frame])]
    for at in range(max_frame, len(block), max_frame):
        last = END_HEADERS if at + max_frame >= len(block) else 0
        made.append(frame(CONTINUATION, last, stream_id, block[at : at + max_frame]))
    return b"".join(made)


class AnswerFrames:
    """The frames of whole answers that have the same head and the same trailers, given as header blocks: HEADERS, one
    frame of DATA, and the HEADERS that end the stream. `Outbox.put_answer` packs them: `begin` makes what goes before
    the body, `end` what goes behind it.
    """

    __slots__ = ("begin", "begin_size", "end", "end_size", "head", "trailers")

    def __init__(self, head: bytes, trailers: bytes) -> None:
        """The blocks must fit into the smallest frame that a client may insist on."""
        self.head, self.trailers = head, trailers
        self.begin = struct.Struct(f">IBI{len(head)}sIBI").pack
        self.end = struct.Struct(f">IBI{len(trailers)}s").pack
        self.begin_size = len(head) << 8 | HEADERS
        self.end_size = len(trailers) << 8 | HEADERS


def settings(values: Mapping[int, int]) -> bytes:
    """Return SETTINGS with these values."""
    return frame(SETTINGS, 0, 0, b"".join(_settings.pack(*each) for each in values.items()))


def read_settings(payload: bytes) -> list[tuple[int, int]]:
    """Return the settings of a payload whose length is a multiple of six."""
    return list(_settings.iter_unpack(payload))


def window_update(stream_id: int, size: int) -> bytes:
    """Return WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream_id, size.to_bytes(4, "big"))


def rst_stream(stream_id: int, code: int) -> bytes:
    """Return RST_STREAM."""
    return frame(RST_STREAM, 0, stream_id, code.to_bytes(4, "big"))


def goaway(last: int, code: ErrorCode, text: str = "") -> bytes:
    """Return GOAWAY: streams up to `last` were, or will be, answered."""
    return frame(GOAWAY, 0, 0, last.to_bytes(4, "big") + code.to_bytes(4, "big") + text.encode("ascii", "replace"))
