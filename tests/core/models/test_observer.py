"""What a model's workers report becomes metrics and log lines."""

from __future__ import annotations

import logging

import pytest

from torchserve.core.metrics.store import HOST, MetricStore
from torchserve.core.models.observer import ModelObserver
from torchserve.core.wire.messages import Answer, Sample
from torchserve.scheduler.job import Batch, Job, ReleaseReason

from ..doubles import Nobody, Sink

BATCH = Batch(1, (), ReleaseReason.FULL, 0.0, Nobody())


def shown(metrics: MetricStore, name: str) -> list[str]:
    return [line for line in metrics.render([name]).decode().splitlines() if not line.startswith("#")]


def test_answers_and_loads_are_measured(caplog: pytest.LogCaptureFixture) -> None:
    metrics = MetricStore(detect=True)
    observer = ModelObserver(metrics.of_model("m", "1.0"))
    with caplog.at_level(logging.INFO):
        observer.loaded("W-9000-m_1.0", 1234.4)
    assert caplog.messages == ["W-9000-m_1.0 has loaded its model in 1234 ms"]
    assert shown(metrics, "WorkerLoadTime")[0].endswith(" 1234.4")
    observer.batch_finished("W-9000-m_1.0", BATCH, 12.0, Answer(1, 200, "", (), 10.0))
    assert shown(metrics, "WorkerThreadTime")[0].endswith(" 2.0")
    samples = (Sample("Mine", "ms", "GAUGE", 3.0, (("Level", "Model"),)),)
    observer.batch_finishing(BATCH, Answer(1, 200, "", (), 10.0, samples))
    assert shown(metrics, "Mine") == [f'Mine{{Level="Model",Hostname="{HOST}",}} 3.0']


def test_a_batch_is_measured_from_its_oldest_request() -> None:
    metrics = MetricStore()
    jobs = tuple(Job(str(number), None, Sink(), 1.0 + number) for number in range(3))
    batch = Batch(1, jobs, ReleaseReason.FULL, 5.0, Nobody())
    ModelObserver(metrics.of_model("m", "1.0")).batch_finished("W", batch, 250.0, Answer(1, 200, "", (), 125.0))
    labels = '{model_name="m",model_version="1.0",}'
    for name, total in (
        ("torchserve_batch_size", "3.0"),
        ("torchserve_batch_formation_seconds", "4.0"),
        ("torchserve_worker_duration_seconds", "0.25"),
        ("torchserve_handler_duration_seconds", "0.125"),
    ):
        assert f"{name}_sum{labels} {total}" in shown(metrics, name)


def test_restarts_are_counted_by_cause() -> None:
    metrics = MetricStore()
    observer = ModelObserver(metrics.of_model("m", "1.0"))
    for cause in ("killed", "load_failed", "killed"):
        observer.restarting("W-9000-m_1.0", cause)
    assert [line.partition("cause=")[2] for line in shown(metrics, "torchserve_worker_restarts_total")] == [
        '"killed",} 2.0', '"load_failed",} 1.0',
    ]  # fmt: skip


def test_unanswered_batches_are_counted_until_one_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    observer = ModelObserver(MetricStore().of_model("m", "1.0"))
    for _ in range(2):
        observer.batch_overdue("W-9000-m_1.0")
    observer.batch_finished("W-9000-m_1.0", BATCH, 1.0, Answer(1, 200, "", (), 1.0))
    observer.batch_overdue("W-9000-m_1.0")
    assert caplog.messages == [
        f"W-9000-m_1.0: Number or consecutive unsuccessful inference {number}" for number in (1, 2, 1)
    ]


def test_prints_go_to_the_model_log(caplog: pytest.LogCaptureFixture) -> None:
    ModelObserver(MetricStore().of_model("m", "1.0")).printed("W-9000-m_1.0", "stderr", "careful %s", "a,b", "c,d")
    (record,) = caplog.records
    assert (record.name, record.levelname, record.getMessage()) == ("MODEL_LOG", "WARNING", "careful %s")
    assert (record.__dict__["request_id"], record.__dict__["trace_id"]) == ("a,b", "c,d")
