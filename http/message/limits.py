"""Limits: what one client may cost. All are plain numbers, so that a test can make each of them small."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Http2Limits:
    """The limits on one HTTP/2 connection. What a client sends beyond a budget ends its connection.

    `resets` are streams that the client resets before they were answered, and `control` are frames that carry nothing
    of a request: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty ones and unknown ones. Each answered request gives some
    of both budgets back.
    """

    max_streams: int = 256  # requests without a whole answer
    stream_window: int = 1024 * 1024  # of a body that its handler has not taken
    connection_window: int = 16 * 1024 * 1024
    max_frame: int = 1024 * 1024
    max_block: int = 64 * 1024  # of a header block as it comes, compressed
    max_continuations: int = 16  # of one header block
    max_header_list: int = 64 * 1024  # of a header block as it is decoded, 32 bytes a field included
    resets: int = 1000
    resets_rate: float = 100.0
    control: int = 10_000
    control_rate: float = 1000.0
    frames_a_turn: int = 256  # that are read before other connections have their turn


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits on clients. Sizes are in bytes, times in seconds, rates in bytes per second."""

    max_request_size: int = 6_553_500  # exactly this much is still accepted
    max_line: int = 4096  # request line
    max_header: int = 8192  # one header field
    max_headers: int = 128
    max_parts: int = 128  # of a multipart or url-encoded form
    max_parameters: int = 64 * 1024  # JSON of a management request
    keep_alive: float = 75.0  # a connection without a request
    head: float = 30.0  # from the first byte of a request's head to its last
    handshake: float = 15.0  # of TLS, from the connection on
    body_idle: float = 30.0  # between two pieces of a body
    body_grace: float = 30.0  # before body_rate is looked at
    body_rate: float = 1000.0
    chunk_slack: int = 64 * 1024  # of chunk framing, on top of half as many bytes as the body itself has
    turn: float = 0.005  # in which a connection's bytes are parsed before other connections have their turn
    linger: float = 2.0  # reads what a refused client still sends, so that it gets to see the answer
    write_stall: float = 60.0  # a client that does not take its answer
    max_unsent_total: int = 512 * 1024 * 1024  # of all answers that their clients have not taken
    drain_idle: float = 2.0  # while the server drains: between two pieces of a body, or of an answer that is taken
    health_look: float = 1.0  # between two looks at what a health check of gRPC watches, and at whether streams may end
    worker_wait: float = 15.0  # for a client to take 1 MiB of a streamed answer, while its worker waits for that
    max_unsent: int = 16 * 1024 * 1024  # of a streamed answer; beyond it its worker waits
    viewers: int = 50  # of the dashboard at a time
    view_interval: float = 1.0  # between two looks at the server for them, at the least
    viewer_stall: float = 10.0  # in which a viewer may take nothing of what it was sent
    ping: float = 20.0  # of silence on a WebSocket, before the client is asked whether it is there
    pong: float = 20.0  # for its answer
    ahead: int = 16  # messages of a WebSocket behind the one that is answered; no more are read
    small_frames: int = 10_000  # of a WebSocket: control frames, and fragments under 512 bytes
    small_frames_rate: float = 1000.0
    http2: Http2Limits = Http2Limits()
