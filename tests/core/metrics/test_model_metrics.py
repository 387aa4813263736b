"""What is counted for a model version, in base units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from torchserve.core.errors import (
    ContextExceeded,
    Draining,
    GenerationExpired,
    HandlerFailed,
    NoTicket,
    NoWorker,
    QueueFull,
    RequestExpired,
    ServeError,
    ServerFull,
    TooLarge,
    WorkerDied,
)
from torchserve.core.metrics.model_metrics import END_REASONS, MANY, WORKER_STATES, ModelMetrics
from torchserve.core.metrics.store import MetricStore
from torchserve.core.metrics.tally import Tally
from torchserve.core.wire.messages import EngineReport
from torchserve.core.workers.pool import SlotState
from torchserve.scheduler.job import ReleaseReason

LABELS = 'model_name="m",model_version="1.0",'


@pytest.fixture
def store() -> MetricStore:
    return MetricStore()


@pytest.fixture
def model(store: MetricStore) -> ModelMetrics:
    return store.of_model("m", "1.0")


def lines(store: MetricStore, name: str) -> list[str]:
    return [
        line.partition(" ")[0] + "=" + line.rpartition(" ")[2]
        for line in store.render([f"torchserve_{name}"]).decode().splitlines()
        if line[0] != "#"
    ]


@pytest.mark.parametrize(
    ("error", "name", "reason"),
    [
        (QueueFull(""), "requests_refused_total", "queue_full"),
        (NoWorker(""), "requests_refused_total", "no_worker"),
        (NoTicket(""), "requests_refused_total", "no_ticket"),
        (ServerFull(""), "requests_refused_total", "server_full"),
        (Draining(""), "requests_refused_total", "draining"),
        (RequestExpired(""), "requests_refused_total", "expired"),
        (ContextExceeded(""), "requests_refused_total", "invalid"),
        (HandlerFailed("", 503), "requests_failed_total", "handler"),
        (GenerationExpired(""), "requests_failed_total", "late"),
        (WorkerDied(""), "requests_failed_total", "worker_died"),
        (TooLarge(""), "requests_failed_total", "internal"),
        (RuntimeError(), "requests_failed_total", "internal"),
    ],
)
def test_errors_by_reason(store: MetricStore, model: ModelMetrics, error: ServeError, name: str, reason: str) -> None:
    model.failed(error)
    model.failed(error)
    assert lines(store, "requests_*ed_total") == [f'torchserve_{name}{{{LABELS}reason="{reason}",}}=2.0']


def test_clients_that_left(store: MetricStore, model: ModelMetrics) -> None:
    model.cancelled(running=True)
    model.cancelled(running=False)
    model.cancelled(running=False)
    assert lines(store, "requests_cancelled_total") == [
        f'torchserve_requests_cancelled_total{{{LABELS}reason="client_left_running",}}=1.0',
        f'torchserve_requests_cancelled_total{{{LABELS}reason="client_left_queued",}}=2.0',
    ]


def test_times_are_in_seconds(store: MetricStore, model: ModelMetrics) -> None:
    model.requested(named=False)
    model.succeeded(0.3, 0.2, named=False)
    assert lines(store, "requests_total") == [f"torchserve_requests_total{{{LABELS}}}=1.0"]
    for name, total in (("request", "0.3"), ("queue", "0.2")):
        shown = lines(store, f"{name}_duration_seconds")
        assert f"torchserve_{name}_duration_seconds_sum{{{LABELS}}}={total}" in shown
        assert f'torchserve_{name}_duration_seconds_bucket{{{LABELS}le="0.1",}}=0.0' in shown
        assert f'torchserve_{name}_duration_seconds_bucket{{{LABELS}le="0.5",}}=1.0' in shown


def counted(store: MetricStore) -> dict[str, float]:
    """What Prometheus is shown, without a settlement before."""
    text = store.render().decode().splitlines()
    return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text if line[0] != "#"}


def noted(model: ModelMetrics) -> None:
    for number, reason in enumerate([ReleaseReason.FULL, ReleaseReason.DELAY, ReleaseReason.FULL]):
        for named in (False, True):
            model.requested(named=named)
            model.succeeded(0.1 * number, 0.01, named=named)
        model.batch_finished(2, 0.02, 0.03 * number, 0.01, reason, "cpu")


def test_what_is_noted_is_counted_in_a_moment_and_comes_to_the_same() -> None:
    due: list[Callable[[], None]] = []
    store, at_once = MetricStore(soon=due.append), MetricStore()
    model, other = store.of_model("m", "1.0"), at_once.of_model("m", "1.0")
    before = counted(store)
    noted(model)
    noted(other)
    assert len(due) == 1, "one call is asked for, however much is noted"
    assert counted(store) == before
    due.pop()()
    assert counted(store) == pytest.approx(counted(at_once))
    assert vars_of(model.tally) == pytest.approx(vars_of(other.tally))
    model.requested(named=False)
    assert len(due) == 1, "what comes later is counted later"


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda store, model: store.settle(), id="settled"),
        pytest.param(lambda store, model: model.requests, id="requests"),
        pytest.param(lambda store, model: model.tally, id="tally"),
        pytest.param(lambda store, model: list(model.shown()), id="shown"),
    ],
)
def test_whoever_reads_sees_all_that_is_noted(read: Callable[[MetricStore, ModelMetrics], Any]) -> None:
    due: list[Callable[[], None]] = []
    store = MetricStore(soon=due.append)
    model = store.of_model("m", "1.0")
    noted(model)
    read(store, model)
    after = counted(store)
    assert after[f"torchserve_requests_total{{{LABELS}}}"] == 6
    due.pop()()
    assert counted(store) == after, "it is counted once"


def test_many_batches_are_counted_without_waiting_and_the_last_ones_of_a_version_before_it_goes() -> None:
    store = MetricStore(soon=lambda _: None)
    model = store.of_model("m", "1.0")
    for _ in range(MANY):
        model.batch_finished(1, 0.0, 0.1, 0.1, ReleaseReason.FULL, "cpu")
    full = f'torchserve_batches_total{{{LABELS}cause="full",device="cpu",}}'
    assert counted(store)[full] == MANY
    model.requested(named=False)
    total = 'ts_inference_requests_total{model_name="m",model_version="default"'
    assert not any(name.startswith(total) for name in counted(store))
    store.forget(model)
    (left,) = [value for name, value in counted(store).items() if name.startswith(total)]
    assert left == 1


def vars_of(tally: Tally) -> dict[str, float]:
    return {name: getattr(tally, name) for name in Tally.__slots__ if name not in {"sizes", "last"}}


def test_gauges_are_read_at_the_scrape(store: MetricStore, model: ModelMetrics) -> None:
    queue: list[int] = []
    model.watch(depth=lambda: len(queue), in_flight=lambda: 7, workers=lambda state: len(state), memory=lambda: 4)
    queue += [1, 2]
    assert lines(store, "queue_depth") == [f"torchserve_queue_depth{{{LABELS}}}=2.0"]
    assert lines(store, "requests_in_flight") == [f"torchserve_requests_in_flight{{{LABELS}}}=7.0"]
    assert lines(store, "workers") == [
        f'torchserve_workers{{{LABELS}state="{state}",}}={len(state)}.0' for state in WORKER_STATES
    ]


def test_every_state_of_a_worker_is_shown() -> None:
    assert {state.value for state in SlotState} == set(WORKER_STATES)


def test_what_a_language_model_generates(store_that_generates: MetricStore) -> None:
    shown = {
        line.partition(" ")[0]: line.rpartition(" ")[2]
        for line in store_that_generates.render(["vllm:*"]).decode().splitlines()
        if line[0] != "#" and not line.startswith(("vllm:time_per", "vllm:inter")) and "_bucket" not in line
    }
    ends = {reason: f'vllm:request_success_total{{{LABELS}finished_reason="{reason}",}}' for reason in END_REASONS}
    assert shown == {
        f"vllm:num_requests_running{{{LABELS}}}": "3.0",
        f"vllm:num_requests_waiting{{{LABELS}}}": "2.0",
        f"vllm:kv_cache_usage_perc{{{LABELS}}}": "0.5",
        f"vllm:prompt_tokens_total{{{LABELS}}}": "10.0",
        f"vllm:generation_tokens_total{{{LABELS}}}": "20.0",
        f"vllm:prefix_cache_queries_total{{{LABELS}}}": "30.0",
        f"vllm:prefix_cache_hits_total{{{LABELS}}}": "40.0",
        ends["stop"]: "1.0",
        ends["length"]: "1.0",
        ends["abort"]: "1.0",
        ends["error"]: "2.0",
        f"vllm:time_to_first_token_seconds_count{{{LABELS}}}": "1.0",
        f"vllm:time_to_first_token_seconds_sum{{{LABELS}}}": "0.25",
        f"vllm:e2e_request_latency_seconds_count{{{LABELS}}}": "1.0",
        f"vllm:e2e_request_latency_seconds_sum{{{LABELS}}}": "1.5",
    }
    text = store_that_generates.render(["vllm:inter_token_latency_seconds"]).decode()
    assert f'vllm:inter_token_latency_seconds_bucket{{{LABELS}le="0.025",}} 1.0' in text
    assert f"vllm:inter_token_latency_seconds_count{{{LABELS}}} 2.0" in text


def test_other_models_have_none_of_it(store: MetricStore, model: ModelMetrics) -> None:
    model.generated(EngineReport(1, 1, 1.0), [1.0])
    assert store.render(["vllm:*"]) == b""
    model.watch_engines(running=lambda: 0, waiting=lambda: 0, memory=lambda: 0)
    assert store.render(["vllm:*"]) != b""
    store.forget(model)
    model.generated(EngineReport(1, 1, 1.0), [1.0])
    assert store.render(["vllm:*"]) == b""
