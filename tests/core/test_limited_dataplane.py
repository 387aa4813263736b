"""A client's requests count against its limits until their ends, whichever those are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest

from torchserve.core.config.cache_options import CacheOptions
from torchserve.core.config.client_limits import ClientLimits
from torchserve.core.config.settings import Settings
from torchserve.core.dataplane import DataPlane, Ticket
from torchserve.core.errors import BadRequest, ClientLimited, NoWorker, QueueFull
from torchserve.core.limited_dataplane import LimitedDataPlane, LimitedTicket
from torchserve.core.models.registry import Registry
from torchserve.core.payload import Part, Payload, Reply
from torchserve.core.workflows.runner import WorkflowPlane
from torchserve.core.workflows.served import Served
from torchserve.core.workflows.spec import read_spec

from .doubles import Answering, Sink, model, slot


def plane(limits: dict[str, dict[str, float]], **options: object) -> LimitedDataPlane:
    registry = Registry()
    subject = model(**options)
    subject.pool.slots.append(slot())
    registry.add(subject)
    return LimitedDataPlane(registry, 10_000, ClientLimits.parse(json.dumps(limits)), "x-client")


def asked(client: str, body: bytes = b"x") -> Payload:
    return Payload("id", (Part("body", "", body),), {"X-Client": client})


ENDS: list[Callable[[Ticket], None]] = [
    lambda ticket: ticket.succeeded(0.1), lambda ticket: ticket.failed(BadRequest("b")), lambda ticket: ticket.cancel(),
]  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("cache", [None, CacheOptions(1.0)])
async def test_each_end_of_a_request_makes_room_for_another(
    end: Callable[[Ticket], None], cache: CacheOptions | None
) -> None:
    data = plane({"default": {"concurrent": 1}}, cache=cache)
    ticket = data.submit("m", None, asked("a"), Sink())
    for _ in range(2):
        with pytest.raises(ClientLimited):
            data.submit("m", None, asked("a"), Sink())
    data.submit("m", "1.0", asked("b"), Sink())
    end(ticket)
    again = data.submit("m", None, asked("a"), Sink())
    assert again.scheduled() is None
    assert again.hold() > 0
    again.release()


async def test_whatever_a_ticket_tells_is_told_of_the_limited_one_too() -> None:
    data = plane({"default": {"concurrent": 1}})
    ticket = data.submit("m", "1.0", asked("a"), Sink())
    assert isinstance(ticket, LimitedTicket)
    assert {name for name in vars(Ticket) if not name.startswith("_")} <= set(vars(LimitedTicket))
    assert (ticket.model.name, ticket.job.id, ticket.size, ticket.named) == ("m", "id", 1, True)
    ticket.exemplar(0.1, "a" * 32)
    ticket.cancel()


async def test_what_the_model_refuses_is_not_running() -> None:
    data = plane({"default": {"concurrent": 2}}, job_queue_size=1)
    data.submit("m", None, asked("a"), Sink())
    for _ in range(5):
        with pytest.raises(QueueFull):
            data.submit("m", None, asked("a"), Sink())


async def test_a_language_models_tokens_are_those_of_prompt_and_answer() -> None:
    data = plane({"default": {"tokensPerMinute": 100}}, generates=True, asynchronous=True)
    body = json.dumps({"prompt": [1, 2, 3], "max_tokens": 96}).encode()
    data.submit("m", None, asked("a", body), Sink())
    data.submit("m", None, asked("a", body), Sink())  # one token was left
    with pytest.raises(ClientLimited, match="tokensPerMinute"):
        data.submit("m", None, asked("a", body), Sink())


async def test_a_workflow_counts_once_as_long_as_it_runs() -> None:
    nodes = [model(f"wf__{name}") for name in ("pre", "m1", "m2")]
    registry = Registry()
    for each in nodes:
        each.pool.slots.append(slot())
        registry.add(each)
    limits = ClientLimits.parse(json.dumps({"default": {"concurrent": 1}}))
    data = LimitedDataPlane(registry, 10_000, limits, "x-client")
    served = Served("wf", read_spec({"dag": {"pre": ["m1", "m2"]}}, functions=True))
    workflows = WorkflowPlane(data, {"wf": served}, 1000)
    _ = [Answering(each.scheduler, lambda payload: Reply(payload.parts[0].body)) for each in nodes]
    for _ in range(2):
        sink = Sink()
        workflows.submit("wf", None, asked("a"), sink)
        with pytest.raises(ClientLimited):
            workflows.submit("wf", None, asked("a"), Sink())
        await sink.told.wait()
        assert json.loads(sink.outcome.body) == {"m1": "x", "m2": "x"}
    nodes[0].pool.slots.clear()
    for _ in range(2):  # what is refused does not count as running
        with pytest.raises(NoWorker):
            workflows.submit("wf", None, asked("a"), Sink())


async def test_with_weights_the_client_that_fills_the_queue_is_refused_and_told_when_to_come_again() -> None:
    weights = ClientLimits.parse('{"default": {"weight": 1}}')
    registry = Registry()
    subject = model(
        settings=Settings(number_of_gpu=0, fair_share_header="X-Client", client_limits=weights), job_queue_size=3
    )
    subject.pool.slots.append(slot())
    registry.add(subject)
    data = DataPlane(registry, 10_000)
    noisy, quiet = [Sink() for _ in range(3)], Sink()
    for sink in noisy:
        data.submit("m", None, asked("noisy"), sink)
    await asyncio.sleep(0)
    data.submit("m", None, asked("quiet"), quiet)
    with pytest.raises(QueueFull):
        data.submit("m", None, asked("noisy"), Sink())
    await asyncio.sleep(0)
    error = noisy[2].outcome
    assert isinstance(error, QueueFull)
    assert error.retry_after
    assert [sink.heard for sink in (*noisy[:2], quiet)] == [[], [], []]
