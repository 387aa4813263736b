"""What is counted for a model version, in base units."""

from __future__ import annotations

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
from torchserve.core.metrics.model_metrics import END_REASONS, WORKER_STATES, ModelMetrics
from torchserve.core.metrics.store import MetricStore
from torchserve.core.wire.messages import EngineReport
from torchserve.core.workers.pool import SlotState

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


def test_the_answers_of_a_batch_are_counted_with_it_and_others_at_once(store: MetricStore, model: ModelMetrics) -> None:
    def answers() -> str:
        return lines(store, "request_duration_seconds")[-2].partition("_count")[2].rpartition("=")[2]

    model.succeeded(0.1, 0.1, named=False)
    assert answers() == "1.0"
    model.batch_finishing()
    model.succeeded(0.1, 0.1, named=False)
    model.succeeded(0.1, 0.1, named=True)
    assert answers() == "1.0"
    model.batch_finished(2, 0.0, 0.1, 0.1)
    assert answers() == "3.0"
    model.succeeded(0.1, 0.1, named=True)
    assert answers() == "4.0"


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
