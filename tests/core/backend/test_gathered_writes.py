"""Frames that go to the front together: in order, at the end of the loop's turn, and never held back for long."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from torchserve.core.backend.gathered_writes import MOST_GATHERED, GatheredWrites


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
    with pytest.raises(BrokenPipeError):
        wire.writes.send([b"a", b"b"])
    wire.writes.send([b"a"])
    with pytest.raises(BrokenPipeError):
        wire.writes.flush()
