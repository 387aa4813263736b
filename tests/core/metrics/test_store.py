"""The metrics of the server as Prometheus reads them: TorchServe's names, labels and commas."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from torchserve.core.metrics.catalog import OWN
from torchserve.core.metrics.spec import Declared, MetricsSpec, read_spec
from torchserve.core.metrics.store import HOST, MetricStore
from torchserve.core.wire.messages import Sample
from torchserve.scheduler.job import ReleaseReason

OF_HOST = f'{{Level="Host",Hostname="{HOST}",}}'


def lines(store: MetricStore, *names: str) -> list[str]:
    """What is shown, without the comments."""
    return [line for line in store.render(names).decode().splitlines() if not line.startswith("#")]


def test_what_there_is_before_anything_happened() -> None:
    spec = read_spec()
    text = MetricStore().render().decode()
    assert [tuple(line.split()[2:]) for line in text.splitlines() if line.startswith("# TYPE")] == [
        (each.name, each.kind) for each in (*spec.server, *spec.model, *OWN)
    ]
    assert f"Requests2XX{OF_HOST} 0.0\n" in text
    assert list(text_string_to_metric_families(text))


def test_a_family_reads_as_torchserve_writes_it() -> None:
    store = MetricStore()
    store.request(200)
    assert store.render(["Requests2XX"]).decode() == (
        "# HELP Requests2XX Torchserve prometheus counter metric with unit: Count\n"
        "# TYPE Requests2XX counter\n"
        f'Requests2XX{{Level="Host",Hostname="{HOST}",}} 1.0\n'
    )


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (200, "Requests2XX"), (299, "Requests2XX"), (400, "Requests4XX"), (499, "Requests4XX"), (500, "Requests5XX"),
        (507, "Requests5XX"), (304, "Requests5XX"), (101, "Requests2XX"),
    ],
)  # fmt: skip
def test_requests_by_class(status: int, name: str) -> None:
    store = MetricStore()
    store.request(status)
    store.request(status)
    shown = lines(store, "Requests2XX", "Requests4XX", "Requests5XX")
    assert sorted(line.rpartition(" ")[2] for line in shown) == ["0.0", "0.0", "2.0"]
    assert next(line for line in shown if line.endswith(" 2.0")).startswith(name)


def test_requests_are_counted_together_and_each_once() -> None:
    due: list[Callable[[], None]] = []
    store = MetricStore(soon=due.append)
    for status in (200, 200, 503, 404, 200):
        store.request(status)
    assert len(due) == 1
    assert store.answered() == (3.0, 1.0, 1.0)
    store.request(200)
    store.settle()
    for settle in due:
        settle()
    assert [line.rpartition(" ")[2] for line in lines(store, "Requests2XX", "Requests4XX", "Requests5XX")] == [
        "4.0", "1.0", "1.0"
    ]  # fmt: skip


def test_only_what_is_asked_for() -> None:
    store = MetricStore()
    assert store.render(["nothing", "queuetime"]) == b""
    assert store.render(["QueueTime", "nothing"]).count(b"# TYPE") == 1
    assert store.render(["torchserve_*"]).count(b"# TYPE") == len(OWN)
    assert store.render(()).count(b"# TYPE") == len(OWN) + 21


def test_what_the_configuration_leaves_out_is_not_there() -> None:
    store = MetricStore(MetricsSpec())
    store.request(200)
    model = store.of_model("m", "1.0")
    model.requested(named=False)
    model.succeeded(1.0, 0.5, named=False)
    model.batch_finished(1, 0.0, 2.0, 1.0, ReleaseReason.FULL, "cpu")
    model.worker_loaded("W-9000-m_1.0", 3.0)
    store.forget(model)
    assert {line.partition("{")[0] for line in lines(store)} == set()
    assert {line.split()[2] for line in store.render().decode().splitlines()} == {each.name for each in OWN}


def test_the_configuration_chooses_kind_unit_and_names_of_labels(caplog: pytest.LogCaptureFixture) -> None:
    store = MetricStore(
        MetricsSpec(
            (
                Declared("histogram", "QueueTime", "ms", ("tier", "node")),
                Declared("gauge", "WorkerThreadTime", "ms", ("Level",)),  # one label too few for its two values
                Declared("gauge", "a b", "ms", ()),
                Declared("counter", "QueueTime_sum", "ms", ()),
                Declared("counter", "torchserve_queue_depth", "ms", ()),
            )
        )
    )
    model = store.of_model("m", "1.0")
    model.succeeded(1.0, 0.002, named=False)
    model.succeeded(1.0, 0.004, named=False)
    model.batch_finished(2, 0.0, 2.0, 1.0, ReleaseReason.FULL, "cpu")
    assert store.render(["QueueTime"]).startswith(
        b"# HELP QueueTime Torchserve prometheus histogram metric with unit: ms"
    )
    assert f'QueueTime_bucket{{tier="Host",node="{HOST}",le="2.5",}} 1.0' in lines(store, "QueueTime")
    assert f'QueueTime_count{{tier="Host",node="{HOST}",}} 2.0' in lines(store, "QueueTime")
    assert lines(store, "WorkerThreadTime") == []
    assert [message.partition(": ")[2][:30] for message in caplog.messages] == [
        "'a b' is no name of a metric: ", "QueueTime_sum is the name of a", "torchserve_queue_depth is the ",
    ]  # fmt: skip


# ---- models


def test_predictions_are_summed_by_the_version_that_was_named() -> None:
    store = MetricStore()
    model = store.of_model("m", "1.0")
    for named, seconds, queued in ((False, 0.001, 0.00025), (False, 0.0005, 0.00005), (True, 0.25, 0.0)):
        model.requested(named=named)
        model.succeeded(seconds, queued, named=named)
    model.batch_finished(3, 0.0, 1.0, 1.0, ReleaseReason.FULL, "cpu")
    model.requested(named=True)  # and no answer yet
    default, named = (
        f'{{model_name="m",model_version="{version}",hostname="{HOST}",}}' for version in ("default", "1.0")
    )
    assert lines(store, "ts_*") == [
        f"ts_inference_requests_total{default} 2.0",
        f"ts_inference_requests_total{named} 2.0",
        f"ts_inference_latency_microseconds{default} 1500.0",
        f"ts_inference_latency_microseconds{named} 250000.0",
        f"ts_queue_latency_microseconds{default} 300.0",
        f"ts_queue_latency_microseconds{named} 0.0",
    ]


def test_gauges_show_the_last_value() -> None:
    store = MetricStore()
    model = store.of_model("m", "1.0")
    model.succeeded(1.0, 0.003, named=False)
    model.succeeded(1.0, 0.0015, named=False)
    model.batch_finished(1, 0.0, 0.0045, 0.001, ReleaseReason.FULL, "cpu")
    model.batch_finished(1, 0.0, 0.001, 0.00125, ReleaseReason.FULL, "cpu")  # two clocks that disagree by a hair
    model.worker_loaded("W-9000-m_1.0", 1234.0)
    assert lines(store, "QueueTime", "WorkerThreadTime", "WorkerLoadTime") == [
        f"QueueTime{OF_HOST} 1.5",
        f"WorkerThreadTime{OF_HOST} 0.0",
        f'WorkerLoadTime{{WorkerName="W-9000-m_1.0",Level="Host",Hostname="{HOST}",}} 1234.0',
    ]


def touched(store: MetricStore, name: str, version: str = "1.0"):
    model = store.of_model(name, version)
    model.watch(depth=lambda: 1, in_flight=lambda: 2, workers=lambda state: len(state), memory=lambda: 4)
    model.requested(named=False)
    model.succeeded(1.0, 0.5, named=False)
    model.failed(RuntimeError())
    model.cancelled(running=True)
    model.batch_finished(1, 0.5, 1.0, 0.5, ReleaseReason.FULL, "cpu")
    model.worker_loaded(f"W-9000-{name}_{version}", 1.0)
    model.worker_restarted("killed")
    model.samples(
        [
            Sample("PredictionTime", "ms", "GAUGE", 1.0, (("ModelName", name), ("Level", "Model"))),
            Sample("Mine", "Count", "COUNTER", 1.0, (("ModelName", name), ("Level", "Model"))),
        ],
        ["id"],
    )
    return model


def test_a_model_that_was_removed_leaves_only_its_sums() -> None:
    store = MetricStore(detect=True)
    untouched = store.render()
    other = touched(store, "other")
    before = {line for line in lines(store) if "other" in line}
    for version in ("1.0", "2.0"):
        store.forget(touched(store, "m", version))
    assert {line for line in lines(store) if "other" in line} == before
    kept = [line for line in lines(store) if '"m"' in line or "m_" in line]
    assert [line.partition("{")[0] for line in kept] == [
        "ts_inference_requests_total", "ts_inference_latency_microseconds", "ts_queue_latency_microseconds", "Mine",
    ]  # fmt: skip
    assert [line.rpartition(" ")[2] for line in kept] == ["2.0", "2000000.0", "1000000.0", "2.0"]
    store.forget(other)
    store.forget(other)
    assert len(lines(store)) == len(kept) * 2 + len([line for line in untouched.splitlines() if line[:1] != b"#"])


def test_what_ends_late_is_not_counted_for_a_model_that_is_gone() -> None:
    store = MetricStore()
    model = store.of_model("m", "1.0")
    store.forget(model)
    model.failed(RuntimeError())
    model.cancelled(running=False)
    assert lines(store, "torchserve_*") == []


def test_a_version_registered_anew_while_the_old_one_drains_keeps_its_own() -> None:
    store = MetricStore()
    old = touched(store, "m")
    new = touched(store, "m")
    before = lines(store, "torchserve_*")
    old.succeeded(1.0, 0.5, named=False)
    store.forget(old)
    assert lines(store, "torchserve_*") == before != []
    store.forget(new)
    assert lines(store, "torchserve_*") == []
