"""The connection beside `h2`, another implementation, as its client: whatever is asked, both agree, however it is cut."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import cycle

import h2.config
import h2.connection
import h2.events
import h2.settings
from hypothesis import given, settings
from hypothesis import strategies as st

from torchserve.http.message.limits import Limits
from torchserve.http.transport.http2.stream import Fields

from .harness import ANSWER, Harness, Recorder

HEAD = [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "here")]


@dataclass
class Got:
    """What a client has got of one answer."""

    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    ended: bool = False


class Echo(Recorder):
    """Answers with the body and the trailers that came, in pieces as it came or in one."""

    def ended(self, trailers: Fields) -> None:
        super().ended(trailers)
        self.stream.send_headers(ANSWER)
        half = len(self.body) // 2
        self.stream.send((self.body[:half], b"", self.body[half:]))
        if trailers:
            self.stream.send_trailers(trailers)
        else:
            self.stream.send((), end=True)


class Pair:
    """A server and a client of h2, whose bytes go to and fro in pieces of these sizes, in turns."""

    def __init__(self, cuts: list[int], values: dict[int, int], **limits: int) -> None:
        self.cuts = cycle(cuts)
        self.server = Harness(Limits(), begin=False, **limits)
        self.server.make = Echo
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="latin-1"))
        self.client.initiate_connection()
        self.client.update_settings({h2.settings.SettingCodes(name): value for name, value in values.items()})
        self.got: dict[int, Got] = {}
        self.exchange()

    def exchange(self) -> None:
        """Deliver what both have to say, until neither has anything."""
        while True:
            there = self.client.data_to_send()
            for piece in self.cut(there):
                self.server.say(piece)
            sent = self.server.sent
            back = b"".join(
                len(each.payload).to_bytes(3, "big") + bytes((each.kind, each.flags)) + each.stream.to_bytes(4, "big")
                + each.payload for each in sent
            )  # fmt: skip
            sent.clear()
            for piece in self.cut(back):
                for event in self.client.receive_data(piece):
                    self.take(event)
            if not there and not back:
                return

    def cut(self, data: bytes) -> list[bytes]:
        if len(data) > 50_000 or not data:
            return [data] if data else []
        size = max(next(self.cuts), len(data) // 50)
        return [data[at : at + size] for at in range(0, len(data), size)]

    def take(self, event: h2.events.Event) -> None:
        assert not isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)), event
        if isinstance(event, h2.events.DataReceived):
            self.got.setdefault(event.stream_id, Got()).body += event.data
            self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            self.got.setdefault(event.stream_id, Got()).trailers = list(event.headers)
        elif isinstance(event, h2.events.StreamEnded):
            self.got.setdefault(event.stream_id, Got()).ended = True

    def send(self, stream: int, body: bytes, *, padding: int | None, trailers: list[tuple[str, str]]) -> None:
        at = 0
        while at < len(body):
            room = self.client.local_flow_control_window(stream) - (0 if padding is None else padding + 1)
            if room <= 0:
                self.exchange()
                continue
            size = min(room, self.client.max_outbound_frame_size - 300, len(body) - at)
            self.client.send_data(stream, body[at : at + size], pad_length=padding)
            at += size
        if trailers:
            self.client.send_headers(stream, trailers, end_stream=True)
        else:
            self.client.end_stream(stream)


FIELDS = st.lists(st.tuples(st.sampled_from(["a", "b-c", "x" * 50]), st.text("xyz", max_size=20)), max_size=4)


SIZES = st.sampled_from([0, 1, 100, 16_384, 70_000]) | st.integers(0, 3000)
REQUESTS = st.lists(
    st.tuples(FIELDS, SIZES, st.none() | st.integers(0, 255), FIELDS, st.booleans()), min_size=1, max_size=6
)
CUTS = st.lists(st.sampled_from([1, 9, 10, 100, 10**6]), min_size=1, max_size=9)
WINDOWS = st.sampled_from([1, 100, 65_535, 10**6])


@settings(max_examples=50)
@given(REQUESTS, CUTS, WINDOWS, WINDOWS, st.sampled_from([0, 4096]), st.sampled_from([16_384, 100_000]))
def test_what_a_client_sends_it_gets_back(
    asked: list[tuple[list[tuple[str, str]], int, int | None, list[tuple[str, str]], bool]],
    cuts: list[int],
    window: int,
    later: int,
    table: int,
    max_frame: int,
) -> None:
    pair = Pair(cuts, {1: table, 4: window, 5: max_frame}, stream_window=70_000, connection_window=2**20)
    most = 30 * min(window, later)  # bytes, so that a window of one byte takes no hour
    bodies = [bytes(min(size, most)) for _, size, *_ in asked]
    for at, (fields, _, padding, trailers, waits) in enumerate(asked):
        stream = 1 + 2 * at
        pair.client.send_headers(stream, [*HEAD, *fields])
        if waits:
            pair.exchange()
        pair.send(stream, bodies[at], padding=padding, trailers=trailers)
        pair.client.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: later})
    pair.exchange()
    for at, (fields, _, _, trailers, _) in enumerate(asked):
        stream = 1 + 2 * at
        got = pair.got[stream]
        assert (got.body, got.trailers, got.ended) == (bodies[at], trailers, True)
        assert list(pair.server.handlers[stream].stream.head.fields) == fields
    assert pair.server.connection.streams.open == {}
    assert (pair.server.connection.outbox.waiting, pair.server.connection.outbox.kept) == (0, 0)
    assert pair.server.refused == []


@given(CUTS)
def test_what_a_client_resets_ends_here_too(cuts: list[int]) -> None:
    pair = Pair(cuts, {})
    for stream in (1, 3):
        pair.client.send_headers(stream, HEAD)
        pair.client.send_data(stream, b"half")
    pair.client.reset_stream(1, 8)
    pair.exchange()
    aborted = pair.server.handlers[1].aborted_by
    assert aborted is not None
    assert aborted.code == 8
    pair.client.end_stream(3)
    pair.exchange()
    assert (pair.got[3].body, pair.got[3].ended) == (b"half", True)
    assert pair.server.connection.streams.open == {}
