"""The state of the whole server: what a row has, when it is made anew, and what is told of GPUs and failures."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from torchserve.core.errors import HandlerFailed, ModelNotFound, QueueFull
from torchserve.core.gpus.gpu_allocator import GpuAllocator
from torchserve.core.metrics.store import MetricStore
from torchserve.core.models.model import Model
from torchserve.core.models.registry import Registry
from torchserve.core.models.traffic import Traffic
from torchserve.core.models.traffic_plan import TrafficPlan
from torchserve.core.overview import Overview
from torchserve.core.payload import Payload, Reply
from torchserve.core.wire.messages import Failure
from torchserve.core.workers.pool import SlotState
from torchserve.scheduler.gpu import Gpu, Lease
from torchserve.scheduler.job import ReleaseReason

from .doubles import Answering, Sink, model, slot, until


class Health:
    def healthy(self) -> bool:
        return False

    def missing(self) -> list[str]:
        return ["m has 0 of 1 workers."]

    def downloads(self) -> dict[str, Any]:
        return {"downloads": []}


class Gpus(GpuAllocator):
    def __init__(self) -> None:
        super().__init__(0)
        self.answers = True

    async def visible(self) -> tuple[Gpu, ...]:
        if not self.answers:
            raise TimeoutError
        return (Gpu(0, "GPU-x", "H200", 100, 30, utilization=5.0),)

    @property
    def leases(self) -> list[Lease]:
        return [Lease("GPU-x", "W-1", "m", 50, 20), Lease("GPU-y", "W-2", "m", 1)]


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def overview(*models: Model, clock: Callable[[], float] = time.time) -> tuple[Overview, Registry]:
    registry = Registry()
    for each in models:
        registry.claim(each.name, each.version)
        registry.add(each)
    return Overview(registry, MetricStore(), Gpus(), Health(), clock), registry


async def answered(subject: Model) -> None:
    """Have a request be answered as the dataplane counts it."""
    sink = Sink()
    subject.metrics.requested(named=False)
    subject.submit(Payload("r", ()), sink, named_version=False)
    await sink.told.wait()
    subject.metrics.succeeded(0.004, 0.001, named=False)
    subject.metrics.batch_finished(1, 0.001, 0.002, 0.001, ReleaseReason.FREE_WORKER, "cpu")


async def test_a_row_has_the_totals_and_is_sent_again_only_once_it_has_moved() -> None:
    subject, idle = model(batch_size=4), model("idle")
    subject.pool.slots.append(slot(last_error="e" * 1000))
    runner = Answering(subject.scheduler, lambda _: Reply(b""))
    shown, registry = overview(subject, idle)
    first = await shown.changes()
    assert [row["name"] for row in first["models"]] == ["m", "idle"]
    assert first["server"]["missing"] == ["m has 0 of 1 workers."]
    assert (await shown.changes())["models"] == []
    await answered(subject)
    subject.metrics.requested(named=False)
    subject.metrics.failed(QueueFull("full"))
    subject.metrics.failed(HandlerFailed("raised", 500))
    subject.metrics.cancelled(running=False)
    (row,) = (await shown.changes())["models"]
    assert runner.batches
    assert {key: row[key] for key in ("requests", "succeeded", "refused", "failed", "cancelled", "causes", "sizes")} == {
        "requests": 2, "succeeded": 1, "refused": {"queue_full": 1}, "failed": {"handler": 1},
        "cancelled": {"client_left_queued": 1}, "causes": {"free_worker": 1}, "sizes": {"1": 1},
    }  # fmt: skip
    assert sum(row["latency"]) == 1
    assert row["latency"].index(1) == 2  # 4 ms are between 2.5 and 5
    assert row["workers"][0][1:3] == ("ready", 0)
    assert len(row["workers"][0][4]) == 300
    subject.pool.slots[0].state = SlotState.WAITING
    assert [each["workers"][0][1] for each in (await shown.changes())["models"]] == ["waiting"]
    registry.discard(subject)
    assert (await shown.changes())["gone"] == [["m", "1.0"]]
    assert [each["name"] for each in shown.whole()["models"]] == ["idle"]
    shown.forget()
    assert shown.whole()["models"] == []


async def test_another_default_version_changes_both_rows() -> None:
    one, two = model(), model(version="2.0")
    shown, registry = overview(one, two)
    await shown.changes()
    registry.set_default("m", "2.0")
    assert {row["version"]: row["default"] for row in (await shown.changes())["models"]} == {"1.0": False, "2.0": True}


async def test_gpus_show_what_is_promised_and_stay_as_they_were_while_the_driver_hangs() -> None:
    shown, _ = overview()
    assert (await shown.changes())["gpus"] == []
    await shown.look_at_gpus()
    (gpu,) = (await shown.changes())["gpus"]
    assert (gpu["used"], gpu["total"], gpu["busy"]) == (70, 100, 5.0)
    assert gpu["workers"] == [{"worker": "W-1", "model": "m", "promised": 50, "held": 20}]
    shown._gpu_allocator.answers = False  # type: ignore[attr-defined]
    await shown.look_at_gpus()
    assert "gpus" not in (await shown.changes())
    assert shown.whole()["gpus"] == [gpu]


async def test_the_latest_failures_are_shown_with_their_tracebacks_latest_first() -> None:
    subject = model()
    for number in range(25):
        subject.pool.slots.append(slot(number))
        subject.pool.slots[-1].failed = (float(number), Failure("ValueError", f"<script>{number}", "h.py", 3, "a\nb"))
    shown, _ = overview(subject)
    found = (await shown.changes())["failures"]
    assert [each["worker"] for each in found] == list(range(24, 4, -1))
    assert (found[0]["model"], found[0]["message"], found[0]["traceback"]) == ("m", "<script>24", ["a", "b"])
    assert "failures" not in (await shown.changes())


async def test_a_detail_has_what_batches_cost() -> None:
    subject = model(batch_size=4)
    subject.pool.slots.append(slot())
    Answering(subject.scheduler, lambda _: Reply(b""))
    shown, _ = overview(subject)
    assert shown.detail("m", None)["costs"] == {}
    for _ in range(2):
        await answered(subject)
    await until(lambda: shown.detail("m", "1.0")["costs"])
    found = shown.detail("m", "1.0")
    assert [(each["size"], each["runs"]) for each in found["costs"]["cpu"]["sizes"]] == [(1, 2)]
    assert found["described"]["modelName"] == "m"
    assert found["inputs"] is None
    with pytest.raises(ModelNotFound):
        shown.detail("nobody", None)


async def test_a_thousand_idle_models_are_sent_once() -> None:
    models = [model(f"m{number}") for number in range(1000)]
    shown, _ = overview(*models)
    assert len((await shown.changes())["models"]) == 1000
    rows = shown.whole()["models"]
    assert (await shown.changes())["models"] == []
    assert all(one is other for one, other in zip(rows, shown.whole()["models"], strict=True))


def graph(name: str, requests: int = 0) -> dict[str, Any]:
    nodes = [{"name": "n", "failed": requests}]
    return {"name": name, "requests": requests, "succeeded": 0, "nodes": nodes, "latency": [requests, 0]}


def plain(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without what has happened in the last seconds."""
    return [{name: value for name, value in row.items() if name != "recent"} for row in rows]


async def test_workflows_are_told_when_they_move_and_when_they_go() -> None:
    shown, _ = overview()
    shown.workflows = lambda: [graph("a"), graph("b")]
    assert plain((await shown.changes())["workflows"]) == [graph("a"), graph("b")]
    assert "workflows" not in (await shown.changes())
    shown.workflows = lambda: [graph("b", 1)]
    found = await shown.changes()
    assert (plain(found["workflows"]), found["workflowsGone"]) == ([graph("b", 1)], ["a"])
    assert found["workflows"][0]["recent"] | {"p99": 0, "seconds": 1.0} == {
        "seconds": 1.0, "arrivals": 1.0, "goodput": 0.0, "failed": {"n": 1}, "p50": pytest.approx(0.5e-3), "p99": 0,
    }  # fmt: skip
    assert plain(shown.whole()["workflows"]) == [graph("b", 1)]
    shown.forget()
    assert shown.whole()["workflows"] == []


async def test_traffic_is_told_with_the_reason_of_a_rollout() -> None:
    shown, registry = overview(model(), model(version="2.0"))
    assert (await shown.changes())["traffic"] == []
    plan = TrafficPlan.read({"rollout": "2.0", "step": "10", "every": "60", "min_requests": "1"}, "1.0")
    registry.traffic["m"] = steered = Traffic("m", plan, 0.0)
    (told,) = (await shown.changes())["traffic"]
    assert (told["model"], told["weights"], told["rollout"]["state"]) == ("m", {"1.0": 90, "2.0": 10}, "stepping")
    assert "traffic" not in (await shown.changes())
    steered.ended("2.0", 0.1, failed=True, now=1.0)
    (told,) = (await shown.changes())["traffic"]
    assert told["rollout"]["state"] == "stepped_back"
    assert "max_error_rate" in told["rollout"]["reason"]
    assert shown.whole()["traffic"] == [told]


async def test_a_worker_on_another_host_is_told_with_its_node() -> None:
    subject = model()
    subject.pool.slots.append(slot(started_at=1.0))
    worker = subject.pool.slots[0].worker
    assert worker is not None
    worker.process.where = " on node <b>n1</b>"
    shown, _ = overview(subject)
    assert (await shown.changes())["models"][0]["workers"][0][5] == "<b>n1</b>"


async def test_what_has_happened_is_that_of_the_last_ten_seconds_and_is_told_until_it_is_over() -> None:
    subject, clock = model(batch_size=4), Clock()
    subject.pool.slots.append(slot())
    Answering(subject.scheduler, lambda _: Reply(b""))
    shown, _ = overview(subject, clock=clock)
    (row,) = (await shown.changes())["models"]
    assert (row["recent"]["arrivals"], row["recent"]["p50"]) == (0.0, None)
    clock.now += 2
    await answered(subject)
    await answered(subject)
    rates = []
    for _ in range(4):
        rates += [row["recent"]["arrivals"] for row in (await shown.changes())["models"]]
        clock.now += 4
    assert rates == [1.0, pytest.approx(2 / 6, abs=1e-3), pytest.approx(0.2), 0.0]
    assert (await shown.changes())["models"] == []
    assert shown.whole()["models"][0]["recent"]["p99"] is None
