"""Requests that name no version go where the traffic says; a shadow costs the first nothing, whatever it does."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import pytest

from torchserve.core.config.model_options import Stateful
from torchserve.core.dataplane import DataPlane
from torchserve.core.errors import BadRequest, HandlerFailed, ModelNotFound, VersionInTraffic, VersionNotFound
from torchserve.core.metrics.store import MetricStore
from torchserve.core.models.model import Model
from torchserve.core.models.registry import Registry
from torchserve.core.payload import Part, Payload, Reply
from torchserve.core.traffic_control import TrafficControl

from .doubles import Answering, Sink, in_virtual_time, model, slot

Answer = Callable[[Payload], "Reply | Exception"]


class Versions:
    """A model's versions with a runner each, behind a dataplane."""

    def __init__(self, **answers: Answer | None) -> None:
        self.registry = Registry()
        self.metrics = MetricStore()
        self.stepped = 0
        self.control = TrafficControl(self.registry, self.metrics, self._step)
        self.plane = DataPlane(self.registry, 10_000)
        self.runners: dict[str, Answering] = {}
        self.models: dict[str, Model] = {}
        for name, answer in answers.items():
            made = self.models[name] = model(version=name)
            made.pool.slots.append(slot())
            self.registry.add(made)
            if answer is not None:
                self.runners[name] = Answering(made.scheduler, answer)

    def _step(self) -> None:
        self.stepped += 1

    async def ask(self, body: bytes = b"x", version: str | None = None, **headers: str) -> Sink:
        sink = Sink()
        self.plane.submit("m", version, Payload("id", (Part("body", "", body),), headers), sink)
        await asyncio.sleep(0.01)  # virtual
        return sink

    def served(self) -> Counter[str]:
        return Counter({name: sum(map(len, runner.batches)) for name, runner in self.runners.items()})

    def shown(self, metric: str) -> list[str]:
        text = self.metrics.render([metric]).decode()
        return sorted(line for line in text.splitlines() if not line.startswith("#"))


def says(body: bytes, status: int = 200) -> Answer:
    return lambda _payload: Reply(body, status)


@in_virtual_time
async def test_requests_without_a_version_are_shared_and_those_with_one_are_not() -> None:
    subject = Versions(a=says(b"a"), b=says(b"b"))
    subject.control.set("m", {"a": "75", "b": "25"})
    for _ in range(100):
        await subject.ask()
    assert subject.served() == {"a": 75, "b": 25}
    for _ in range(10):
        await subject.ask(version="a")
    assert subject.served() == {"a": 85, "b": 25}
    assert subject.shown("torchserve_traffic_ratio") == [
        'torchserve_traffic_ratio{model_name="m",model_version="a",} 0.75',
        'torchserve_traffic_ratio{model_name="m",model_version="b",} 0.25',
    ]
    subject.control.clear("m")
    await subject.ask()
    assert subject.served()["a"] == 86
    assert subject.shown("torchserve_traffic_ratio") == []


@in_virtual_time
async def test_the_memory_for_a_body_is_no_versions_while_it_is_open_whose_it_is() -> None:
    subject = Versions(a=says(b"a"), b=says(b"b"))
    assert subject.plane.room("m", None, 1 << 17) is not None
    subject.control.set("m", {"a": "50", "b": "50"})
    assert subject.plane.room("m", None, 1 << 17) is None
    assert subject.plane.room("m", "a", 1 << 17) is not None
    with pytest.raises(ModelNotFound):
        subject.plane.room("n", None, 1 << 17)


@in_virtual_time
async def test_a_version_with_a_share_is_not_removed_and_one_that_is_gone_gets_nothing() -> None:
    subject = Versions(a=says(b"a"), b=says(b"b"))
    subject.control.set("m", {"a": "50", "b": "50"})
    with pytest.raises(VersionInTraffic, match="Version b of model m answers 50 %"):
        subject.registry.remove("m", "b")
    subject.registry.discard(subject.models["b"])  # its workers failed, say
    for _ in range(4):
        assert (await subject.ask()).outcome.body == b"a"
    subject.registry.discard(subject.models["a"])
    assert subject.registry.traffic == {}
    with pytest.raises(ModelNotFound):
        await subject.ask()


@in_virtual_time
async def test_what_can_not_be_shared_is_refused_and_changes_nothing() -> None:
    subject = Versions(a=says(b"a"))
    stateful = model(version="s", stateful=Stateful())
    subject.registry.add(stateful)
    subject.control.set("m", {"a": "100"})
    before = subject.registry.traffic["m"]
    for wanted, error in (
        ({"a": "50", "zz": "50"}, VersionNotFound),
        ({"shadow": "zz"}, VersionNotFound),
        ({"a": "50", "s": "50"}, BadRequest),
        ({"a": "99"}, BadRequest),
    ):
        with pytest.raises(error):
            subject.control.set("m", wanted)
    with pytest.raises(ModelNotFound):
        subject.control.set("n", {"a": "100"})
    assert subject.registry.traffic["m"] is before


@in_virtual_time
async def test_a_rollout_steps_back_by_itself_and_says_so() -> None:
    subject = Versions(a=says(b"a"), b=lambda _payload: HandlerFailed("it broke", 503))
    subject.control.set("m", {"rollout": "b", "step": "50", "min_requests": "4", "max_error_rate": "0.5"})
    for _ in range(20):
        await subject.ask()
    assert subject.served()["b"] == 3
    assert subject.stepped == 1
    told = subject.control.describe("m")
    assert told["weights"] == {"a": 100, "b": 0}
    assert told["rollout"]["state"] == "stepped_back"
    assert "3 of 3 requests failed" in told["rollout"]["reason"]
    assert subject.control.saved("m") == {"weights": {"a": 100, "b": 0}}


@pytest.mark.parametrize(
    ("failure", "counts"),
    [
        (HandlerFailed("the client's picture is broken", 400), False),
        (BadRequest("no"), False),
        (Reply(b"", 503), True),
        (Reply(b"", 404), False),
        (RuntimeError("?"), True),
    ],
)
def test_what_the_client_did_wrong_is_not_the_versions_fault(failure: Reply | Exception, counts: bool) -> None:
    @in_virtual_time
    async def check() -> None:
        subject = Versions(a=says(b"a"), b=lambda _payload: failure)
        subject.control.set("m", {"rollout": "b", "step": "99", "min_requests": "1", "max_error_rate": "0"})
        for _ in range(3):
            await subject.ask()
        assert (subject.stepped == 1) == counts

    check()


@in_virtual_time
async def test_a_version_without_workers_loses_its_share() -> None:
    subject = Versions(a=says(b"a"), b=None)
    subject.models["b"].pool.slots.clear()
    subject.control.set("m", {"rollout": "b", "step": "50", "min_requests": "1", "max_error_rate": "0"})
    refused = 0
    for _ in range(10):
        try:
            await subject.ask()
        except Exception:
            refused += 1
    assert refused == 1
    assert subject.served() == {"a": 9}


@pytest.mark.parametrize(
    ("other", "outcome"),
    [
        (Reply(b'{"p": 0.5}'), "same"),
        (Reply(b'{"p":0.50001}'), "close"),
        (Reply(b'{"p":0.6}'), "different"),
        (Reply(b'{"p":true}'), "different"),
        (Reply(b"["), "different"),
        (Reply(b'{"p": 0.5}', 201), "different"),
        (HandlerFailed("x", 500), "failed"),
    ],
)
def test_a_shadows_answer_is_compared_and_thrown_away(other: Reply | Exception, outcome: str) -> None:
    @in_virtual_time
    async def check() -> None:
        subject = Versions(a=says(b'{"p": 0.5}'), b=lambda _payload: other)
        subject.control.set("m", {"shadow": "b", "shadow_percent": "50"})
        for _ in range(4):
            assert (await subject.ask()).outcome.body == b'{"p": 0.5}'
        traffic = subject.registry.traffic["m"]
        assert {key: count for key, count in traffic.outcomes.items() if count} == {outcome: 2}
        assert traffic.copies_running == 0
        copies = [payload for batch in subject.runners["b"].batches for payload in batch]
        assert [each.priority for each in copies] == [9, 9]
        assert f'torchserve_shadow_requests_total{{model_name="m",model_version="b",outcome="{outcome}",}} 2.0' in (
            subject.shown("torchserve_shadow_requests_total")
        )

    check()


@in_virtual_time
async def test_a_shadow_that_never_answers_holds_its_limit_and_no_client() -> None:
    subject = Versions(a=says(b"a"), b=None)
    subject.control.set("m", {"shadow": "b", "shadow_limit": "4"})
    for _ in range(50):
        assert (await subject.ask()).outcome.body == b"a"
    traffic = subject.registry.traffic["m"]
    assert traffic.copies_running == subject.models["b"].scheduler.queued == 4
    assert traffic.outcomes["dropped"] == 46
    subject.models["b"].scheduler.close(HandlerFailed("removed", 503))
    await asyncio.sleep(0)
    assert traffic.copies_running == 0


@in_virtual_time
async def test_clients_memory_is_not_for_copies_and_a_shadow_that_is_gone_is_dropped() -> None:
    subject = Versions(a=says(b"a"), b=says(b"b"))
    subject.control.set("m", {"shadow": "b"})
    await subject.ask(bytes(6000))
    subject.registry.discard(subject.models["b"])
    await subject.ask()
    assert subject.served() == {"a": 2, "b": 0}
    assert subject.registry.traffic["m"].outcomes["dropped"] == 2
    assert subject.registry.traffic["m"].copies_running == 0


@in_virtual_time
async def test_a_snapshot_brings_it_back() -> None:
    subject = Versions(a=says(b"a"), b=says(b"b"))
    subject.control.set("m", {"a": "60", "b": "40", "sticky": "x-user", "rollout": "b", "every": "7"})
    saved = subject.control.saved("m")
    assert saved is not None
    subject.control.clear("m")
    subject.control.restore("m", saved)
    assert subject.control.saved("m") == saved
    subject.control.clear("m")
    subject.control.restore("m", {"weights": {"a": 1}})
    assert "m" not in subject.registry.traffic
