"""Requests that are alike are computed once, and what one of them does or suffers costs the others nothing."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from torchserve.core.config.cache_options import CacheOptions
from torchserve.core.dataplane import DataPlane, Ticket
from torchserve.core.errors import HandlerFailed, QueueFull, RequestExpired, ServeError, ServerFull, WorkerDied
from torchserve.core.models.registry import Registry
from torchserve.core.payload import Part, Payload, Reply
from torchserve.core.traffic_control import TrafficControl
from torchserve.scheduler.job import Batch, Continue

from .doubles import Sink, in_virtual_time, model, slot


class Stopped:
    """A runner that answers when the test says so."""

    name = "runner"
    device = "cpu"

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def run(self, batch: Batch) -> None:
        self.batches.append(batch)

    def batch_started(self, batch: Batch) -> None:
        """It was given it already."""


class Cached:
    """A model with a cache behind a dataplane, and a runner for one request at a time."""

    def __init__(self, options: CacheOptions | None = None, most: int = 10_000, queue: int = 100) -> None:
        self.registry = Registry()
        self.model = model(cache=options or CacheOptions(60.0), job_queue_size=queue)
        self.model.pool.slots.append(slot())
        self.registry.add(self.model)
        self.plane = DataPlane(self.registry, most)
        self.runner = Stopped()
        self.model.scheduler.attach(self.runner)
        self.tickets: list[Ticket] = []

    def ask(self, body: bytes = b"x", timeout: float | None = None, priority: int = 0, **headers: str) -> Sink:
        sink = Sink()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        payload = Payload("id", (Part("body", "", body),), named, timeout, priority)
        self.tickets.append(self.plane.submit("m", None, payload, sink))
        return sink

    async def answer(self, outcome: Reply | Exception | Continue) -> None:
        await settle()
        batch = self.runner.batches.pop(0)
        self.model.scheduler.finish(batch, [outcome for _ in batch.jobs])
        await settle()

    async def idle(self) -> bool:
        await settle()
        return not self.runner.batches

    @property
    def results(self) -> dict[str, int]:
        assert self.model.cache is not None
        return {name: count for name, count in self.model.cache.results.items() if count}

    def waiting(self) -> int:
        return self.plane._cached.flights(self.model).waiting


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def told(sink: Sink) -> tuple[object, str]:
    reply = sink.outcome
    return bytes(reply.body), dict(reply.headers).get("x-torchserve-cache", "")


def bare(body: bytes = b"a") -> Reply:
    return Reply(body)


@in_virtual_time
async def test_of_requests_that_are_alike_one_computes_and_later_ones_are_hits() -> None:
    subject = Cached()
    sinks = [subject.ask() for _ in range(5)]
    other = subject.ask(b"y")
    await subject.answer(bare())
    assert [told(sink) for sink in sinks] == [(b"a", "miss")] + [(b"a", "shared")] * 4
    assert other.heard == []
    await subject.answer(bare(b"b"))
    assert told(other) == (b"b", "miss")
    late = subject.ask()
    assert late.heard == []  # never before submit has returned
    assert await subject.idle()
    assert told(late) == (b"a", "hit")
    assert subject.results == {"hit": 1, "miss": 2, "shared": 4}
    for ticket in subject.tickets:
        ticket.succeeded(0.1)
    assert (subject.plane._pending.held, subject.waiting()) == (0, 0)


@in_virtual_time
async def test_another_clients_answer_is_never_given() -> None:
    subject = Cached()
    subject.ask(authorization="Bearer a")
    await subject.answer(bare(b"a's"))
    other = subject.ask(authorization="Bearer b")
    await subject.answer(bare(b"b's"))
    assert told(other) == (b"b's", "miss")


@in_virtual_time
async def test_the_handler_sees_no_header_outside_the_key() -> None:
    subject = Cached(CacheOptions(60.0, headers=("x-lang",)))
    subject.ask(x_forwarded_host="evil.example", x_lang="de", accept="text/plain")
    await settle()
    assert cast(Payload, subject.runner.batches[0].jobs[0].payload).headers == {"x-lang": "de", "accept": "text/plain"}


@in_virtual_time
async def test_the_first_may_leave_and_the_others_get_the_answer() -> None:
    subject = Cached()
    first, second, third = subject.ask(), subject.ask(), subject.ask()
    subject.tickets[0].cancel()
    subject.tickets[2].cancel()
    await subject.answer(bare())
    assert (first.heard, third.heard) == ([], [])
    assert told(second) == (b"a", "miss")
    assert subject.waiting() == 0


@in_virtual_time
async def test_when_all_have_left_the_job_is_cancelled_and_nothing_is_left() -> None:
    subject = Cached()
    for _ in range(3):
        subject.ask()
    blocked = subject.ask(b"y")
    for _ in range(2):
        subject.ask(b"y")
    for ticket in subject.tickets:
        ticket.cancel()
    assert subject.model.scheduler.queued == 0
    assert subject.waiting() == 0
    assert subject.plane._cached.flights(subject.model).by_key == {}
    assert subject.plane._pending.held == 0
    assert blocked.heard == []
    again = subject.ask()
    await settle()
    assert again.heard == []


@pytest.mark.parametrize("error", [HandlerFailed("no", 500), WorkerDied("it died")])
def test_a_handlers_failure_is_everybodys_and_is_not_kept(error: ServeError) -> None:
    @in_virtual_time
    async def check() -> None:
        subject = Cached()
        sinks = [subject.ask() for _ in range(3)]
        await subject.answer(error)
        assert [sink.outcome for sink in sinks] == [error] * 3
        after = subject.ask()
        await subject.answer(bare())
        assert told(after) == (b"a", "miss")

    check()


@in_virtual_time
async def test_a_deadline_of_the_first_is_not_the_others() -> None:
    subject = Cached()
    sinks = [subject.ask(timeout=None if at else 0.5) for at in range(4)]
    await subject.answer(RequestExpired("late"))
    assert isinstance(sinks[0].outcome, RequestExpired)
    assert all(sink.heard == [] for sink in sinks[1:])
    await subject.answer(bare())
    assert [told(sink) for sink in sinks[1:]] == [(b"a", "miss"), (b"a", "shared"), (b"a", "shared")]
    assert subject.waiting() == 0


@in_virtual_time
async def test_a_request_that_fails_for_its_flight_twice_is_told() -> None:
    subject = Cached()
    sinks = [subject.ask() for _ in range(3)]
    await subject.answer(QueueFull("full"))
    await subject.answer(QueueFull("full"))
    assert [type(sink.outcome) for sink in sinks] == [QueueFull] * 3
    assert await subject.idle()


@in_virtual_time
async def test_who_is_in_more_of_a_hurry_does_not_wait_for_who_is_not() -> None:
    subject = Cached()
    subject.ask(priority=3)
    subject.ask(timeout=5.0)
    subject.ask(priority=2)
    subject.ask(priority=4)
    assert subject.results == {"miss": 3, "shared": 1}


@in_virtual_time
async def test_a_stream_is_passed_on_to_the_first_and_the_others_have_their_own() -> None:
    subject = Cached()
    first, second, third = subject.ask(), subject.ask(), subject.ask()
    await settle()
    batch = subject.runner.batches.pop(0)
    subject.model.scheduler.chunk(batch, [bare(b"1")])
    assert first.heard == [("chunk", bare(b"1"))]
    subject.model.scheduler.finish(batch, [bare(b"2")])
    await settle()
    assert first.heard[1:] == [("done", bare(b"2"))]
    for sink in (second, third):
        assert sink.heard == []
        await subject.answer(bare(b"12"))
        assert sink.outcome.body == b"12"
    late = subject.ask()
    assert await subject.idle() is False or late.heard  # what came as a stream was not kept


@in_virtual_time
async def test_an_answer_for_one_client_alone_is_not_shared() -> None:
    subject = Cached()
    first, second = subject.ask(), subject.ask()
    await subject.answer(Reply(b"1", headers=(("Set-Cookie", "session=1"),)))
    assert told(first) == (b"1", "miss")
    assert second.heard == []
    subject.ask()  # the key is known for it by now
    await subject.answer(Reply(b"2", headers=(("Set-Cookie", "session=2"),)))
    assert told(second) == (b"2", "miss")
    assert not await subject.idle()


@in_virtual_time
async def test_no_cache_computes_anew_and_no_store_leaves_no_trace() -> None:
    subject = Cached()
    subject.ask()
    await subject.answer(bare(b"old"))
    fresh = subject.ask(cache_control="no-cache")
    await subject.answer(bare(b"new"))
    assert told(fresh) == (b"new", "miss")
    secret = subject.ask(cache_control="no-store")
    await subject.answer(bare(b"secret"))
    assert told(secret)[0] == b"secret"
    after = subject.ask()
    await settle()
    assert told(after) == (b"new", "hit")


@in_virtual_time
async def test_what_began_before_a_purge_is_not_kept_after_it() -> None:
    subject = Cached()
    sink = subject.ask()
    await settle()
    assert subject.model.cache is not None
    subject.model.cache.purge()
    await subject.answer(bare())
    assert told(sink) == (b"a", "miss")
    subject.ask()
    assert not await subject.idle()


@in_virtual_time
async def test_those_who_wait_are_bounded_in_number_and_in_bytes() -> None:
    subject = Cached(most=100, queue=3)
    for _ in range(4):
        subject.ask()
    assert subject.waiting() == 3
    subject.ask()  # past the bound it queues by itself
    assert subject.waiting() == 3
    assert subject.model.scheduler.queued + subject.model.scheduler.running == 2
    with pytest.raises(ServerFull):
        subject.ask(bytes(100))
    for ticket in subject.tickets:
        ticket.cancel()
    assert subject.plane._pending.held == 0


@in_virtual_time
async def test_a_refusal_leaves_nothing_behind() -> None:
    subject = Cached(queue=1)
    subject.ask(b"1")
    await settle()
    subject.ask(b"2")
    for _ in range(3):
        with pytest.raises(QueueFull):
            subject.ask(b"3")
    assert subject.plane._pending.held == 2
    assert len(subject.plane._cached.flights(subject.model).by_key) == 2


@in_virtual_time
async def test_hits_say_nothing_of_a_versions_health() -> None:
    subject = Cached()
    control = TrafficControl(subject.registry, subject.model.metrics._books, lambda: None)  # type: ignore[arg-type]
    other = model(version="2.0")
    other.pool.slots.append(slot())
    subject.registry.add(other)
    control.set("m", {"1.0": "100", "2.0": "0", "shadow": "2.0"})
    subject.ask()
    await subject.answer(bare())
    for _ in range(3):
        subject.ask()
    await settle()
    assert other.scheduler.queued == 1  # one was computed, one was copied
