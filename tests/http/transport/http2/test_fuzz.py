"""Whatever comes, nothing is raised, the answer is frames, and what is kept of it is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from torchserve.http.transport.http2 import frames
from torchserve.http.transport.http2.errors import ErrorCode
from torchserve.http.transport.http2.frames import frame
from torchserve.http.transport.http2.header_block import encode_block

from .harness import ANSWER, REQUEST, Harness, Recorder

BLOCK = encode_block(REQUEST)
PAYLOADS = st.sampled_from(
    [b"", BLOCK, bytes(4), bytes(5), bytes(6), bytes(8), b"\0\0\0\1", b"\xbe", BLOCK[:7]]
) | st.binary(max_size=40)
FRAMES = st.builds(
    frame,
    st.integers(0, 10) | st.integers(0, 255),
    st.sampled_from([0, 1, 4, 5, 8, 0x20, 0x2D]) | st.integers(0, 255),
    st.sampled_from([0, 1, 3, 5]) | st.integers(0, 2**31 - 1),
    PAYLOADS,
)
BEGUN = frames.PREFACE + frame(frames.SETTINGS, 0, 0)
ACTIONS = st.sampled_from(["answer", "send", "reset", "trailers", "look", "drain", "block", "unblock"])


class Silent(Recorder):
    """Keeps nothing of a body, so that what grows is the connection's."""

    def data_received(self, data: object) -> None:
        self.stream.consumed(len(data))  # type: ignore[arg-type]


def act(harness: Harness, action: str) -> None:
    connection = harness.connection
    handlers = list(harness.handlers.values())[-3:]
    if action == "look":
        harness.look(1.0)
    elif action == "drain":
        connection.drain()
    elif action in {"block", "unblock"}:
        connection.outbox.blocked = action == "block"
    for handler in handlers:
        if action == "answer":
            handler.answer(b"x" * 100)
        elif action == "send":
            handler.stream.send_headers(ANSWER)
            handler.stream.send((bytes(50),))
        elif action == "reset":
            handler.stream.reset(ErrorCode.CANCEL)
        elif action == "trailers":
            handler.stream.send_trailers(ANSWER)


def check(harness: Harness) -> None:
    outbox, streams = harness.connection.outbox, harness.connection.streams
    reader = harness.connection._reader
    assert len(reader._rest) <= harness.connection._limits.http2.max_block + 9 + 10_000
    assert len(streams.open) <= 4
    assert sum(stream.queued for stream in streams.open.values()) == outbox.waiting
    assert outbox.kept >= outbox.waiting >= 0
    assert outbox.kept or not outbox.waiting
    for handler in harness.handlers.values():
        assert handler.calls.count("ended") <= 1
        assert handler.calls.count("aborted") <= 1


@given(st.booleans(), st.lists(FRAMES | ACTIONS | st.binary(max_size=100), max_size=60))
def test_frames_and_actions_in_any_order(begun: bool, said: list[bytes | str]) -> None:
    harness = Harness(
        begin=False, max_streams=4, stream_window=1000, connection_window=70_000, max_block=2000, max_frame=9000
    )
    harness.make = Silent
    harness.out()
    if begun:
        harness.say(BEGUN)
    for each in said:
        if isinstance(each, str):
            act(harness, each)
            harness.out()
        else:
            harness.say(each)
        check(harness)
    harness.connection.lost()
    assert harness.connection.streams.open == {}
    assert (harness.connection.outbox.waiting, harness.connection.outbox.kept) == (0, 0)
    for handler in harness.handlers.values():
        assert handler.stream.ended


@given(st.lists(FRAMES, max_size=30), st.integers(1, 200))
def test_the_cuts_do_not_matter(said: list[bytes], size: int) -> None:
    """One packet and many give the same calls of handlers, and the same end."""
    whole, pieces = Harness(), Harness()
    data = b"".join(said)
    whole.say(data)
    for at in range(0, len(data), size):
        pieces.say(data[at : at + size])
    assert whole.goaway == pieces.goaway
    assert {at: (each.body, each.trailers) for at, each in whole.handlers.items()} == {
        at: (each.body, each.trailers) for at, each in pieces.handlers.items()
    }
