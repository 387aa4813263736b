"""Frames that go to the front together: in order, at the end of the loop's turn, and never held back for long."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from torchserve.core.backend.gathered_writes import AT_ONCE, LATE, MOST_GATHERED, GatheredWrites, Wary
from torchserve.core.wire.frames import FrameReader, encode
from torchserve.core.wire.messages import CallCancel, Pieces, ToFront

Cancelled = CallCancel(1)


class Wire:
    """A connection to the front that keeps each write, or fails."""

    def __init__(self, wary: Wary | None = None) -> None:
        self.written: list[bytes] = []
        self.broken = False
        self.failures: list[OSError] = []
        self.writes = GatheredWrites(self._write, asyncio.get_running_loop(), self.failures.append, wary)

    def _write(self, buffers: list[Any]) -> None:
        if self.broken:
            raise BrokenPipeError("gone")
        self.written.append(b"".join(buffers))


async def test_frames_of_a_turn_are_one_write() -> None:
    wire = Wire()
    for frame in (b"a", b"b", b"c"):
        wire.writes.send([frame])
    assert wire.written == []
    await asyncio.sleep(0)
    wire.writes.send([b"d"])
    await asyncio.sleep(0)
    assert wire.written == [b"abc", b"d"]


def told(written: bytes) -> list[tuple[object, list[bytes]]]:
    """Return the messages of what was written, with their bodies."""
    reader: FrameReader[ToFront] = FrameReader(ToFront, 1 << 20)
    reader.get_buffer()[: len(written)] = written
    reader.buffer_updated(len(written))
    frames = iter(reader.next_frame, None)
    return [(frame.message, [bytes(body) for body in frame.bodies]) for frame in frames if frame is not None]


async def test_pieces_of_a_turn_are_one_frame_and_one_body_for_each_batch() -> None:
    wire = Wire()
    for batch, body in ((1, b"a"), (2, b"b"), (1, b"c")):
        wire.writes.piece(batch, body)
    await asyncio.sleep(0)
    (written,) = wire.written
    assert told(written) == [(Pieces((1, 2)), [b"ac", b"b"])]
    wire.writes.piece(2, b"d")
    wire.writes.flush_now()
    assert told(wire.written[1]) == [(Pieces((2,)), [b"d"])], "at once, if somebody says so"
    await asyncio.sleep(0)
    assert len(wire.written) == 2


async def test_pieces_keep_their_place_among_frames() -> None:
    wire = Wire()
    wire.writes.piece(1, b"a")
    wire.writes.send(encode(Cancelled))
    wire.writes.piece(1, b"b")
    await asyncio.sleep(0)
    (written,) = wire.written
    assert told(written) == [(Pieces((1,)), [b"a"]), (Cancelled, []), (Pieces((1,)), [b"b"])]


async def test_large_frames_and_many_bytes_do_not_wait() -> None:
    wire = Wire()
    wire.writes.send([b"a"])
    wire.writes.send([b"head", bytearray(b"body")])
    assert wire.written == [b"aheadbody"]
    wire.writes.send([b"x" * (MOST_GATHERED + 1)])
    assert len(wire.written) == 2
    await asyncio.sleep(0)
    assert len(wire.written) == 2


async def test_a_frame_of_another_thread_comes_behind_what_was_sent_before() -> None:
    wire = Wire()
    wire.writes.send([b"a"])
    thread = threading.Thread(target=wire.writes.send, args=([b"b"],))
    thread.start()
    thread.join()
    assert wire.written == [b"ab"]


async def test_an_error_reaches_whoever_waits_or_is_told() -> None:
    wire = Wire()
    wire.broken = True
    wire.writes.send([b"a"])
    await asyncio.sleep(0)
    assert len(wire.failures) == 1
    wire.writes.piece(1, b"a")
    wire.writes.flush_now()
    assert len(wire.failures) == 2
    with pytest.raises(BrokenPipeError):
        wire.writes.send([b"a", b"b"])
    wire.writes.send([b"a"])
    with pytest.raises(BrokenPipeError):
        wire.writes.flush()


class Watched(Wire):
    """A wire of a handler that may keep the loop, with `running` requests; `now` is the time."""

    def __init__(self, running: int = 2) -> None:
        self.now = 100.0
        super().__init__(Wary(lambda: running, lambda: self.now))


async def test_what_a_watched_handler_sends_for_several_requests_is_gathered() -> None:
    wire = Watched()
    for _ in range(3):
        for batch in (1, 2):
            wire.writes.piece(batch, b"x")
        wire.now += LATE / 2
        await asyncio.sleep(0)
    assert [told(written) for written in wire.written] == [[(Pieces((1, 2)), [b"x", b"x"])]] * 3


async def test_what_is_sent_for_a_lone_request_does_not_wait() -> None:
    wire = Watched(running=1)
    wire.writes.piece(1, b"a")
    wire.writes.send([b"b"])
    assert len(wire.written) == 2


async def test_pieces_of_a_watched_handler_stay_pieces() -> None:
    """A piece may be a message of its own to its client, and the handler has kept the loop between the two."""
    wire = Watched()
    for batch, body in ((1, b"a"), (2, b"b"), (1, b"c")):
        wire.writes.piece(batch, body)
    (written,) = wire.written
    assert told(written) == [(Pieces((1, 2)), [b"a", b"b"])]
    await asyncio.sleep(0)
    assert told(wire.written[1]) == [(Pieces((1,)), [b"c"])]


async def test_what_a_handler_sends_that_keeps_the_loop_waits_for_one_turn_in_a_thousand() -> None:
    wire = Watched()
    wire.writes.piece(1, b"a")
    wire.now += LATE * 1.01  # it computes, and awaits nothing meanwhile
    await asyncio.sleep(0)
    assert len(wire.written) == 1
    for number in range(AT_ONCE):
        wire.writes.piece(1, b"b")
        assert len(wire.written) == 2 + number
        wire.now += LATE * 1.01
        await asyncio.sleep(0)
    wire.writes.piece(1, b"c")
    assert len(wire.written) == 1 + AT_ONCE, "it is tried again"
    await asyncio.sleep(0)
    assert len(wire.written) == 2 + AT_ONCE


async def test_a_gap_between_two_frames_of_a_turn_tells_as_much() -> None:
    wire = Watched()
    wire.writes.piece(1, b"a")
    wire.now += LATE * 1.01
    wire.writes.piece(2, b"b")
    assert len(wire.written) == 1
    wire.writes.piece(3, b"c")
    assert len(wire.written) == 2


async def test_no_frame_of_a_long_turn_waits_for_long() -> None:
    wire = Watched()
    for number in range(4):
        wire.writes.piece(number, b"a")
        wire.now += LATE * 0.4
    assert [told(written) for written in wire.written] == [[(Pieces((0, 1, 2, 3)), [b"a"] * 4)]]
    wire.writes.piece(5, b"b")
    assert len(wire.written) == 1, "that is no handler that keeps the loop for itself"
    await asyncio.sleep(0)
    assert len(wire.written) == 2
