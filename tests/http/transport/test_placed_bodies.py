"""PlacedBodies: a large body behind the head that came before is read to where its worker finds it, and nothing else."""

from __future__ import annotations

import asyncio
import ctypes
import json
from dataclasses import dataclass, field

import pytest

from torchserve.core.errors import ModelNotFound
from torchserve.core.payload import Payload, Reply
from torchserve.http.message.limits import Limits

from ..doubles import (
    SOON,
    FakeDataPlane,
    RunningFront,
    Sink,
    answer,
    connect,
    head_and_body,
    post,
    running_front,
    until,
)

SIZE = 100_000


@dataclass
class RoomyDataPlane(FakeDataPlane):
    """Has room for large bodies, for as many as `most_rooms` says. In each lies what was in the one before."""

    most_rooms: int = 10**6
    given: list[bytearray] = field(default_factory=list[bytearray])

    def room(self, model: str, version: str | None, size: int) -> memoryview | None:
        super().room(model, version, size)
        if len(self.given) == self.most_rooms:
            return None
        before = self.given[-1][:size] if self.given else b""
        self.given.append(bytearray(before) + bytes(size - len(before)))
        return memoryview(self.given[-1])

    def placed(self) -> list[bool]:
        """Return for each request whether its body is where its head was read to, too."""
        bodies = [payload.parts[0].body if payload.parts else b"" for payload in self.payloads]
        return [isinstance(each, memoryview) and len(bytes(each.obj)) > len(each) for each in bodies]


def body(number: int, size: int = SIZE) -> bytes:
    return b"%09d" % number + bytes(range(251)) * (size // 251) + b"z" * (size % 251 - 9)


def large(number: int, *fields: str) -> bytes:
    return post("/predictions/m", body(number), *fields)


def watcher(h: RunningFront) -> object:
    """Return what reads the one connection in its place."""
    (connection,) = h.front._fast_factories[0].connections
    return connection._placed


async def test_bodies_behind_the_same_head_are_read_to_their_places() -> None:
    data = RoomyDataPlane()
    async with running_front(data=data) as h, connect(h.port()) as (reader, writer):
        for number in range(4):
            writer.write(large(number))
            assert (await answer(reader))[1] == body(number)
        assert data.placed() == [False, True, True, True]
        for payload in data.payloads[1:]:
            lies = payload.parts[0].body
            assert isinstance(lies, memoryview)
            assert isinstance(lies.obj, bytearray)
            begins = [ctypes.addressof(ctypes.c_char.from_buffer(each)) for each in (lies, lies.obj)]
            assert (begins[0] - begins[1]) % 64 == 0


OTHERS = {
    "a small body": (post("/predictions/m", b"small"), b"small"),
    "another large body": (post("/predictions/m", body(7, 150_000)), body(7, 150_000)),
    "another head of the same length": (large(7, "X-A: 2"), body(7)),
    "another route": (b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n", b"Healthy"),
    "another model": (post("/predictions/nobody", body(7)), b"nobody"),
    "chunks": (
        b"POST /predictions/m HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n0\r\n\r\n",
        b"h",
    ),
}


@pytest.mark.parametrize("kind", OTHERS)
async def test_what_comes_behind_another_head_is_read_as_usual(kind: str) -> None:
    other, expected = OTHERS[kind]
    async with running_front(data=RoomyDataPlane()) as h, connect(h.port()) as (reader, writer):
        for number in range(2):
            writer.write(large(number, "X-A: 1"))
            assert (await answer(reader))[1] == body(number)
        writer.write(other)
        assert expected in (await answer(reader))[1]
        for number in range(3):
            writer.write(large(number, "X-A: 1"))
            assert (await answer(reader))[1] == body(number)


@pytest.mark.parametrize("piece", [7, 100, 1000, 65_000, SIZE, 250_000, 600_000])
async def test_requests_that_are_sent_ahead_in_any_pieces_are_answered_in_order(piece: int) -> None:
    """The first pieces end within heads, within bodies and behind the first bytes of the next request."""
    bodies = [body(0), body(1), body(2), b"small", body(3), body(4)]
    stream = b"".join(post("/predictions/m", each) for each in bodies)
    data = RoomyDataPlane()
    async with running_front(data=data) as h, connect(h.port()) as (reader, writer):
        for number in (0, 1):
            writer.write(large(number))
            _ = await answer(reader)
        for begin in range(0, 5 * piece, piece):  # these come as they are cut, the others as they like
            writer.write(stream[begin : begin + piece])
            for _ in range(5):
                await asyncio.sleep(0)
        writer.write(stream[5 * piece :])
        for sent in bodies:
            assert (await answer(reader))[1] == sent
        writer.write(large(5))
        assert (await answer(reader))[1] == body(5)
        assert not data.arriving


async def test_a_body_in_pieces_is_known_to_its_batcher_and_arrives_in_its_place() -> None:
    data = RoomyDataPlane()
    async with running_front(data=data) as h, connect(h.port()) as (reader, writer):
        raw = large(1)
        writer.write(large(0))
        _ = await answer(reader)
        for cut in (60_000, 99_999):
            writer.write(raw[:cut])
            await until(lambda: data.arriving and data.held > 50_000)
            writer.write(raw[cut:])
            assert (await answer(reader))[1] == body(1)
        assert data.placed() == [False, True, True]
        assert (data.arriving, data.held) == (0, 0)


async def test_without_room_and_without_the_model_a_request_is_read_as_usual() -> None:
    data = RoomyDataPlane(most_rooms=2)  # for the look whether there is any, and for one body
    async with running_front(data=data) as h, connect(h.port()) as (reader, writer):
        for number in range(5):
            writer.write(large(number))
            assert (await answer(reader))[1] == body(number)
        assert data.placed() == [False, True, False, False, False]
        assert watcher(h) is None

        def gone(*_: object) -> None:
            raise ModelNotFound("m")

        data.most_rooms = 10**6
        writer.write(large(5))
        _ = await answer(reader)
        assert watcher(h)
        data._check = gone  # type: ignore[method-assign]
        writer.write(large(6))
        assert (await answer(reader))[0][0].startswith("HTTP/1.1 404")


async def test_what_is_refused_of_a_body_in_its_place_is_refused_as_usual() -> None:
    """A body that stalls: 408. One too many: 503. The connection ends, and nothing is left of either."""
    data = RoomyDataPlane(most=150_000)
    limits = Limits(body_idle=0.3, linger=0.1)
    async with running_front(data=data, limits=limits) as h:
        for cut, status, more in ((50_000, "408", 0), (50_000, "503", 140_000)):
            async with connect(h.port()) as (reader, writer):
                writer.write(large(0))
                _ = await answer(reader)
                data.held += more
                writer.write(large(1)[:cut])
                lines, told = head_and_body(await asyncio.wait_for(reader.read(), SOON))
                assert lines[0].startswith(f"HTTP/1.1 {status}")
                assert json.loads(told)["code"] == int(status)
                data.held -= more
        await until(lambda: not h.front._fast_factories[0].connections)
        assert (data.arriving, data.held, len(data.payloads)) == (0, 0, 2)


async def test_a_client_that_leaves_amid_a_body_takes_it_along() -> None:
    data = RoomyDataPlane()
    async with running_front(data=data) as h:
        async with connect(h.port()) as (reader, writer):
            writer.write(large(0))
            _ = await answer(reader)
            writer.write(large(1)[:50_000])
            await until(lambda: data.arriving)
            (connection,) = h.front._fast_factories[0].connections
        await until(lambda: not data.arriving and not data.held)
        assert not h.front._fast_factories[0].connections
        assert connection._placed is None, "the two would refer to each other"


@pytest.mark.parametrize("ahead", [True, False])
async def test_nothing_is_read_while_the_client_leaves_its_answer(*, ahead: bool) -> None:
    sinks: list[Sink] = []

    def keep(_payload: Payload, sink: Sink) -> None:
        sinks.append(sink)

    data = RoomyDataPlane(behave=keep)
    async with running_front(data=data) as h, connect(h.port()) as (reader, writer):
        for number, sent in enumerate((b"one", bytes(30_000_000), b"three")):
            if number < 2 or not ahead:
                writer.write(large(number))
            await until(lambda: sinks)
            (connection,) = h.front._fast_factories[0].connections
            assert connection._placed is not None
            sinks.pop().done(Reply(sent))
            assert connection._unsent is not None
            assert connection._unsent.waiting == (number == 1)
            if number == 1 and ahead:
                writer.write(large(2))
                await until(lambda: connection._rest)  # noqa: B023
                assert connection._placed is None, "what is sent ahead is read as usual"
                assert len(data.payloads) == 2
            assert (await answer(reader))[1] == sent
        assert [payload.parts[0].body for payload in data.payloads] == [body(0), body(1), body(2)]


async def test_a_client_that_wants_its_connection_closed_is_not_waited_for() -> None:
    data = RoomyDataPlane()
    async with running_front(data=data) as h:
        raw = await h.say(large(0, "Connection: close"))
        assert raw.endswith(body(0))
        assert not data.given
