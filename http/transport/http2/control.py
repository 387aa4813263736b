"""The frames that carry nothing of a request: SETTINGS, PING, WINDOW_UPDATE, RST_STREAM, PRIORITY and GOAWAY."""

from __future__ import annotations

from typing import Protocol

from .errors import ConnectionFault, ErrorCode, StreamFault
from .frames import (
    ACK,
    ENABLE_PUSH,
    GOAWAY,
    INITIAL_WINDOW_SIZE,
    LEAST_MAX_FRAME,
    MAX_FRAME_SIZE,
    MOST_MAX_FRAME,
    MOST_STREAM,
    MOST_WINDOW,
    PING,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
    read_settings,
)
from .outbox import Outbox
from .stream_table import StreamTable


class Receiver(Protocol):
    """An interface for the connection that the frames are of."""

    outbox: Outbox
    streams: StreamTable

    def ping_answered(self, payload: bytes) -> None:
        """Note the answer to a PING."""

    def client_leaves(self) -> None:
        """Note the client's GOAWAY."""


_LENGTHS = {PRIORITY: 5, RST_STREAM: 4, PING: 8, WINDOW_UPDATE: 4}
_OF_THE_CONNECTION = frozenset((SETTINGS, PING, GOAWAY))
_OF_A_STREAM = frozenset((PRIORITY, RST_STREAM))


def receive(connection: Receiver, kind: int, flags: int, stream_id: int, payload: bytes) -> None:
    """Take such a frame; one of an unknown type is ignored. Raises ConnectionFault."""
    if (stream_id and kind in _OF_THE_CONNECTION) or (not stream_id and kind in _OF_A_STREAM):
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"a frame of type {kind} on stream {stream_id}")
    if len(payload) != _LENGTHS.get(kind, len(payload)):
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"a frame of type {kind} with {len(payload)} bytes")
    if kind == WINDOW_UPDATE:
        _widen(connection, stream_id, int.from_bytes(payload, "big") & MOST_WINDOW)
    elif kind == SETTINGS:
        _settings(connection, flags, payload)
    elif kind == PING:
        if flags & ACK:
            connection.ping_answered(payload)
        else:
            connection.outbox.put_reply(frame(PING, ACK, 0, payload))
    elif kind == RST_STREAM:
        connection.streams.reset_came(stream_id, int.from_bytes(payload, "big"))
    elif kind == PRIORITY:
        _priority(connection, stream_id, int.from_bytes(payload[:4], "big") & MOST_STREAM)
    elif kind == GOAWAY:
        if len(payload) < _LENGTHS[PING]:
            raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, "GOAWAY without its last stream and code")
        connection.client_leaves()
    elif kind == PUSH_PROMISE:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a client can't push")


def _widen(connection: Receiver, stream_id: int, size: int) -> None:
    streams = connection.streams
    if not stream_id:
        if not size:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0 bytes")
        connection.outbox.widen(size)
        return
    stream = streams.open.get(stream_id)
    if stream is None:
        streams.check_known(stream_id, "WINDOW_UPDATE")
        return
    try:
        if not size:
            raise StreamFault(ErrorCode.PROTOCOL_ERROR, "WINDOW_UPDATE by 0 bytes")
        stream.widen(size)
    except StreamFault as fault:
        streams.end(stream, fault)


def _priority(connection: Receiver, stream_id: int, depends_on: int) -> None:
    if depends_on != stream_id:
        return
    stream = connection.streams.open.get(stream_id)
    if stream is None:
        raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, "a stream depends on itself")
    connection.streams.end(stream, StreamFault(ErrorCode.PROTOCOL_ERROR, "the stream depends on itself"))


def _settings(connection: Receiver, flags: int, payload: bytes) -> None:
    if (flags & ACK and payload) or len(payload) % 6:
        raise ConnectionFault(ErrorCode.FRAME_SIZE_ERROR, f"SETTINGS with {len(payload)} bytes")
    if flags & ACK:
        return
    for name, value in read_settings(payload):
        if name == INITIAL_WINDOW_SIZE:
            _initial_window(connection, value)
        elif name == MAX_FRAME_SIZE:
            if not LEAST_MAX_FRAME <= value <= MOST_MAX_FRAME:
                raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_MAX_FRAME_SIZE is {value}")
            connection.outbox.max_frame = value
        elif name == ENABLE_PUSH and value > 1:
            raise ConnectionFault(ErrorCode.PROTOCOL_ERROR, f"SETTINGS_ENABLE_PUSH is {value}")
    connection.outbox.put_reply(frame(SETTINGS, ACK, 0))


def _initial_window(connection: Receiver, value: int) -> None:
    """Take the window of new streams, and widen those that are open by the difference, or narrow them, below 0 too."""
    if value > MOST_WINDOW:
        raise ConnectionFault(ErrorCode.FLOW_CONTROL_ERROR, f"SETTINGS_INITIAL_WINDOW_SIZE is {value}")
    by = value - connection.outbox.initial_window
    connection.outbox.initial_window = value
    for stream in list(connection.streams.open.values()):
        try:
            stream.widen(by)
        except StreamFault as fault:
            raise ConnectionFault(fault.code, fault.text) from None
