"""Large bodies with real workers: shared memory both ways, and what becomes of it when either side stops or dies."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from torchserve.core.dataplane import DataPlane, Ticket
from torchserve.core.errors import ServeError
from torchserve.core.models.model import Model
from torchserve.core.payload import Body, Part, Payload, Reply

from .doubles import Sink, folder, until
from .house import House
from .workers.test_shared_memory import held

ECHO = """
import hashlib, os
SEEN = os.environ.get("SEEN_HERE")

def handle(data, context):
    for row in data or ():
        assert type(row["body"]) is bytearray
        if SEEN:
            with open(SEEN, "a") as seen:
                seen.write(hashlib.md5(row["body"]).hexdigest() + "\\n")
        row["body"][:1] = b"!"  # it is the handler's own
    return data and [row["body"] for row in data]
"""
LIAR = (
    """
from torchserve.core.backend.shared_memory import Outbox
Outbox.place = lambda self, bodies: {0: PLACE}
"""
    + ECHO
)
MEGABYTE = 1_000_000


class Served:
    """A model with one worker, and the dataplane before it."""

    def __init__(self, house: House) -> None:
        self.data = DataPlane(house.registry, 1 << 30)
        self.model: Model = house.registry.get("m")

    @property
    def worker(self) -> Any:
        return self.model.pool.slots[0].worker

    def submit(self, body: Body, sink: Sink) -> Ticket:
        payload = Payload(f"r{id(sink)}", (Part("body", "application/octet-stream", body),))
        return self.data.submit("m", None, payload, sink)

    async def ask(self, body: Body) -> Any:
        """The reply's body, or the error."""
        sink = Sink()
        ticket = self.submit(body, sink)
        await asyncio.wait_for(sink.told.wait(), 60)
        if isinstance(sink.outcome, Reply):
            ticket.succeeded(0.0)
            return sink.outcome.body
        ticket.failed(sink.outcome)
        return sink.outcome

    def received(self, fill: bytes, size: int = MEGABYTE) -> memoryview:
        """A body as a front door receives it."""
        room = self.data.room("m", None, size)
        assert room is not None
        room[:] = fill * size
        return room

    async def replaced(self, worker: Any) -> None:
        await until(lambda: self.worker is not None and self.worker is not worker and self.worker.notes is not None)
        await until(lambda: self.model.pool.ready)


@asynccontextmanager
async def served(home: Path, code: str = ECHO, config: str = "", **environment: Path) -> AsyncIterator[Served]:
    """`environment` is the server's while the worker starts."""
    house = House(home)
    folder(house.store, "m", code, config="maxBatchDelay: 0\n" + config)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, str(value))
        await house.register(initial_workers=1)
    try:
        yield Served(house)
    finally:
        await house.plane.close(1.0)


def in_memory(body: Body) -> bool:
    """Whether it came through shared memory."""
    return isinstance(body, memoryview) and hasattr(body.obj, "offset")


@pytest.mark.parametrize(
    ("size", "shared"), [(0, False), (19, False), (65_535, False), (65_536, True), (70_001, True), (6_000_000, True)]
)
async def test_a_body_comes_and_goes_whole(tmp_path: Path, size: int, shared: bool) -> None:
    body = os.urandom(size)
    async with served(tmp_path) as it:
        for _ in range(3):
            got = await it.ask(body)
            assert in_memory(got) is shared
            assert bytes(got) == (b"!" + body[1:] if size else b"!")


async def test_a_body_is_received_where_the_worker_reads_it(tmp_path: Path) -> None:
    async with served(tmp_path) as it:
        body = it.received(b"a")
        assert bytes(await it.ask(body)) == b"!" + b"a" * (MEGABYTE - 1)
        assert body == b"a" * MEGABYTE  # the handler changed its own


async def test_every_region_comes_back_by_itself(tmp_path: Path) -> None:
    async with served(tmp_path) as it:
        gc.disable()
        try:
            for _ in range(400):  # more than there is room for
                assert in_memory(await it.ask(it.received(b"a")))
        finally:
            gc.enable()


async def test_without_room_bodies_go_over_the_socket(tmp_path: Path) -> None:
    async with served(tmp_path) as it:
        taken = [it.data.room("m", None, 1 << 27) for _ in range(2)]
        assert None not in taken
        assert it.data.room("m", None, MEGABYTE) is None
        held_back = [await it.ask(b"b" * MEGABYTE) for _ in range(130)]
        assert [in_memory(body) for body in held_back].count(True) == 128
        assert all(bytes(body) == b"!" + b"b" * (MEGABYTE - 1) for body in held_back)


@pytest.mark.parametrize("received", [True, False], ids=["received there", "copied there"])
async def test_a_body_is_not_overwritten_while_a_worker_may_still_read_it(tmp_path: Path, received: bool) -> None:
    seen = tmp_path / "seen"
    async with served(tmp_path, SEEN_HERE=seen) as it:
        pid = it.worker.process.pid
        os.kill(pid, signal.SIGSTOP)  # it does not read what it is sent
        ticket = it.submit(it.received(b"a") if received else b"a" * MEGABYTE, Sink())
        await until(lambda: it.worker.busy)
        ticket.cancel()  # its client has gone
        others = [it.received(b"x") for _ in range(8)]
        os.kill(pid, signal.SIGCONT)
        assert bytes(await it.ask(others.pop())) == b"!" + b"x" * (MEGABYTE - 1)
    assert seen.read_text().split() == [hashlib.md5(fill * MEGABYTE).hexdigest() for fill in (b"a", b"x")]


async def test_a_request_given_up_keeps_its_body_until_the_worker_is_done_with_it(tmp_path: Path) -> None:
    code = """
import asyncio, os

async def handle(data, context):
    if data and len(data[0]["body"]) > 100:
        while not os.path.exists(os.environ["GATE_HERE"]):
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                pass  # it works on, though it is told that nobody waits
    return data and [b"ok"] * len(data)
"""
    async with served(
        tmp_path, code, "asyncCommunication: true\nresponseTimeout: 1\n", GATE_HERE=tmp_path / "gate"
    ) as it:
        stuck = asyncio.ensure_future(it.ask(it.received(b"h")))
        while not stuck.done():
            assert await it.ask(b"others are answered") == b"ok"
        assert "did not answer within 1 s" in str(stuck.result())
        assert it.data.room("m", None, 1 << 28) is None
        (tmp_path / "gate").touch()
        await until(lambda: it.data.room("m", None, 1 << 28))


async def test_what_a_killed_worker_answered_stays_readable_and_nothing_is_left(tmp_path: Path) -> None:
    async with served(tmp_path) as it:
        await it.ask(b"c" * MEGABYTE)
        gc.collect()  # what tests before this one left is not to go in its middle
        before = held()
        for _ in range(3):
            worker = it.worker
            answer = await it.ask(it.received(b"d"))
            sink = Sink()
            os.kill(worker.process.pid, signal.SIGSTOP)
            ticket = it.submit(it.received(b"e"), sink)
            await until(lambda worker=worker: worker.busy)
            os.kill(worker.process.pid, signal.SIGKILL)
            await asyncio.wait_for(sink.told.wait(), 60)
            ticket.failed(sink.outcome)
            assert isinstance(sink.outcome, ServeError)
            await it.replaced(worker)
            assert bytes(answer) == b"!" + b"d" * (MEGABYTE - 1)
            assert held() > before
            del answer, worker
            assert held() == before


@pytest.mark.parametrize("place", [1 << 40, (1 << 27) - 65_536, 12_345])
async def test_a_worker_that_lies_about_a_place_is_killed_for_it(tmp_path: Path, place: int) -> None:
    async with served(tmp_path, LIAR.replace("PLACE", str(place))) as it:
        worker = it.worker
        error = await it.ask(b"f" * MEGABYTE)
        assert isinstance(error, ServeError)
        assert worker.cause == "protocol"
        assert "broke the protocol" in str(error)
        assert not re.search(rf"memfd|{place}|{place:x}", str(error))


async def test_a_removed_model_lets_go_of_its_memory(tmp_path: Path) -> None:
    before = held()
    async with served(tmp_path) as it:
        await it.ask(it.received(b"g"))
        assert held() > before
    assert held() == before
