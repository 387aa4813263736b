"""A store in which everything has happened, so that every family has samples."""

from __future__ import annotations

import pytest

from torchserve.core.errors import HandlerFailed, QueueFull
from torchserve.core.metrics.store import GPU_METRICS, OWN_GPU_METRICS, MetricStore
from torchserve.core.wire.messages import EngineReport, Sample
from torchserve.scheduler.job import ReleaseReason


def eventful() -> MetricStore:
    store = MetricStore()
    for status in (200, 404, 503):
        store.request(status)
    model = store.of_model("m", "1.0")
    model.watch(depth=lambda: 1, in_flight=lambda: 2, workers=lambda state: 3, memory=lambda: 4)
    store.read("torchserve_log_lines_lost_total", ("backlog",), lambda: 3)
    store.read("torchserve_trace_spans_exported_total", (), lambda: 5)
    store.read("torchserve_trace_records_lost_total", ("collector",), lambda: 7)
    store.read("torchserve_payload_records_written_total", (), lambda: 8)
    store.read("torchserve_payload_records_lost_total", ("sink",), lambda: 9)
    store.read("torchserve_traffic_ratio", ("m", "1.0"), lambda: 0.5)
    store.read("torchserve_shadow_requests_total", ("m", "2.0", "same"), lambda: 1)
    model.watch_cache({"hit": 5}, entries=lambda: 6, size=lambda: 7)
    model.watch_shared_answers({"none": 8})
    for named in (False, True):
        model.requested(named=named)
        model.succeeded(0.25, 0.125, named=named)
    model.failed(QueueFull(""))
    model.failed(HandlerFailed("", 503))
    model.load_waited(2.5)
    model.cancelled(running=False)
    model.batch_finished(2, 0.5, 0.25, 0.125, ReleaseReason.FULL, "cpu")
    model.worker_loaded("W-9000-m_1.0", 1234.0)
    model.worker_restarted("killed")
    level = (("ModelName", "m"), ("Level", "Model"))
    model.samples([Sample(name, "ms", "GAUGE", 1.0, level) for name in ("HandlerTime", "PredictionTime")], ["id"])
    host = ("CPUUtilization", "MemoryUsed", "MemoryAvailable", "MemoryUtilization")
    disk = ("DiskUsage", "DiskUtilization", "DiskAvailable")
    gpus = (*GPU_METRICS, *OWN_GPU_METRICS)
    store.system([(name, 50.0) for name in (*host, *disk)], [("0", name, 50.0) for name in gpus])
    return store


@pytest.fixture(name="eventful")
def _eventful() -> MetricStore:
    return eventful()


@pytest.fixture
def store_that_generates() -> MetricStore:
    """A store with a language model, of which everything has happened."""
    store = MetricStore()
    model = store.of_model("m", "1.0")
    model.watch_engines(running=lambda: 3, waiting=lambda: 2, memory=lambda: 0.5)
    model.succeeded(1.5, 0.5, named=False)
    ended = ("stop", "length", "abort", "error", "odd")
    model.generated(EngineReport(3, 2, 0.5, (), (0.02, 0.03), ended, 10, 20, 30, 40), [0.25])
    return store
