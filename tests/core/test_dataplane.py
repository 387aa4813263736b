"""The bytes of requests that are held, in all models: bounded, and given back whatever becomes of a request."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from torchserve.core.dataplane import DataPlane, Ticket
from torchserve.core.errors import HandlerFailed, QueueFull, ServerFull
from torchserve.core.models.registry import Registry
from torchserve.core.payload import Part, Payload

from .doubles import Sink, model, slot


def plane(limit: int, queue: int = 100) -> DataPlane:
    registry = Registry()
    subject = model(job_queue_size=queue)
    subject.pool.slots.append(slot())
    registry.add(subject)
    return DataPlane(registry, limit)


def payload(*sizes: int) -> Payload:
    return Payload("id", tuple(Part(f"part {at}", "", bytes(size)) for at, size in enumerate(sizes)))


@pytest.mark.parametrize(
    "end", [lambda ticket: ticket.succeeded(0.1), lambda ticket: ticket.failed(HandlerFailed("x", 503)), Ticket.cancel]
)
async def test_exactly_the_excess_is_refused_and_an_end_makes_room(end: Callable[[Ticket], None]) -> None:
    data = plane(100)
    first = data.submit("m", None, payload(30, 30), Sink())
    data.submit("m", None, payload(40), Sink())
    with pytest.raises(ServerFull, match="holds 100 bytes of requests and this one has 1, which is more than 100"):
        data.submit("m", None, payload(1), Sink())
    data.submit("m", None, payload(), Sink())
    end(first)
    data.submit("m", None, payload(60), Sink())
    with pytest.raises(ServerFull) as caught:
        data.submit("m", None, payload(1), Sink())
    assert caught.value.retry_after == 1.0


async def test_a_lone_request_is_never_too_large() -> None:
    data = plane(100)
    data.submit("m", None, payload(1000), Sink()).cancel()
    data.submit("m", None, payload(1000), Sink())
    with pytest.raises(ServerFull):
        data.submit("m", None, payload(1), Sink())


async def test_what_a_model_refuses_holds_nothing() -> None:
    data = plane(100, queue=1)
    data.submit("m", None, payload(10), Sink())
    for _ in range(20):
        with pytest.raises(QueueFull) as caught:
            data.submit("m", None, payload(50), Sink())
        assert not isinstance(caught.value, ServerFull)


@pytest.mark.parametrize("model", ["m", ""])
async def test_what_has_come_of_a_body_counts_until_it_has_come_or_never_will(model: str) -> None:
    data = plane(100)
    data.submit("m", None, payload(40), Sink())
    with data.expect(model, None) as arrival:
        arrival.grow(1)
        arrival.grow(59)
        with pytest.raises(ServerFull, match="holds 40 bytes of requests and this one has 61, which is more than 100"):
            arrival.grow(1)
        with pytest.raises(ServerFull, match="holds 100 bytes"):
            data.submit("m", None, payload(1), Sink())
        with data.expect(model, None) as other, pytest.raises(ServerFull, match="holds 100 bytes"):
            other.grow(1)
    data.submit("m", None, payload(60), Sink())


async def test_a_lone_body_is_never_too_large_while_it_arrives() -> None:
    data = plane(100)
    with data.expect("m", None) as arrival:
        arrival.grow(60)
        arrival.grow(1000)
        with data.expect("m", None) as other, pytest.raises(ServerFull):
            other.grow(1)
