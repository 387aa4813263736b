"""Frames that go to the front together: in order, at the end of the loop's turn, and never held back for long."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from torchserve.core.backend.gathered_writes import MOST_GATHERED, GatheredWrites
from torchserve.core.wire.frames import FrameReader, encode
from torchserve.core.wire.messages import CallCancel, Pieces, ToFront

Cancelled = CallCancel(1)


class Wire:
    """A connection to the front that keeps each write, or fails."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.broken = False
        self.failures: list[OSError] = []
        self.writes = GatheredWrites(self._write, asyncio.get_running_loop(), self.failures.append)

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
