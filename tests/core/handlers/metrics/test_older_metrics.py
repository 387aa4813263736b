"""The older metrics API: values are counted for the model that runs, and written down without one."""

from __future__ import annotations

import io
import json
import logging
import os
from pathlib import Path

import pytest

from torchserve.core.handlers.metrics import emitter as emitters
from torchserve.core.handlers.metrics.emitter import Dimension, MetricsEmitter, MetricTypes
from torchserve.core.handlers.metrics.metric_errors import MetricsCacheIOError, MetricsCachePyYamlError
from torchserve.core.handlers.metrics.older_metrics import (
    Metric,
    MetricEncoder,
    MetricsCacheYamlImpl,
    MetricsStore,
    Units,
    emit_metrics,
)
from torchserve.core.handlers.metrics.process_memory import check_process_mem_usage, get_cpu_usage


@pytest.fixture
def nobody_runs(monkeypatch) -> None:
    monkeypatch.setattr(emitters, "_RUNNING", [])


def test_a_metric_is_counted_for_the_model_that_runs(nobody_runs) -> None:
    running = MetricsEmitter("m")
    running.set_request_ids({0: "a", 1: "b"})
    metric = Metric("Things", 2, "count", [Dimension("Level", "Model")], "b")
    emit_metrics([metric])
    metric.update(5)
    metric.reset()
    samples = running.take()
    assert [sample.value for sample in samples] == [2.0, 5.0, 0.0]
    assert {(each.name, each.unit, each.kind, each.index) for each in samples} == {("Things", "Count", "COUNTER", 1)}
    assert samples[0].dimensions == (("Level", "Model"),)


def test_without_one_it_is_written_down(nobody_runs, caplog) -> None:
    metric = Metric("Things", 2, "ms", [Dimension("Level", "Model")], "b")
    with caplog.at_level(logging.INFO):
        emit_metrics([metric, "a line"])
        emit_metrics([])
    first, second = caplog.messages
    assert first.startswith("[METRICS]Things.Milliseconds:2|#Level:Model|#hostname:")
    assert first.endswith(",b")
    assert second == "[METRICS]a line"


def test_metrics_as_json() -> None:
    told = json.loads(json.dumps(Metric("Things", 2, "kB", [Dimension("a", 1)]), cls=MetricEncoder))
    assert told["MetricName"] == "Things"
    assert (told["Value"], told["Unit"], told["RequestId"]) == (2, "Kilobytes", None)
    assert told["Dimensions"] == [{"Name": "a", "Value": 1}]
    with pytest.raises(TypeError):
        json.dumps(object(), cls=MetricEncoder)


def test_units() -> None:
    assert Units().units["ms"] == "Milliseconds"
    assert Units().units[None] == "unit"


@pytest.mark.parametrize("ids", ["one", {0: "one"}])
def test_a_store_by_itself(nobody_runs, ids) -> None:
    store = MetricsStore(ids, "m")
    store.add_counter("Calls", 1, 0)
    (sample,) = store.take()
    assert (sample.name, sample.index) == ("Calls", 0)
    assert ("ModelName", "m") in sample.dimensions


def test_a_cache_from_yaml(nobody_runs, tmp_path: Path) -> None:
    path = tmp_path / "metrics.yaml"
    path.write_text("model_metrics:\n  gauge:\n  - {name: Size, unit: MB, dimensions: [Zone]}\n")
    cache = MetricsCacheYamlImpl(str(path))
    cache.set_request_ids("one")
    cache.initialize_cache()
    cache.get_metric("Size", MetricTypes.GAUGE).add_or_update(3, ["a"])
    (sample,) = cache.take()
    assert (sample.name, sample.unit, sample.kind, sample.dimensions) == (
        "Size",
        "Megabytes",
        "GAUGE",
        (("Zone", "a"),),
    )
    with pytest.raises(MetricsCacheIOError):
        MetricsCacheYamlImpl(str(tmp_path / "none.yaml"))
    path.write_text("model_metrics: [")
    with pytest.raises(MetricsCachePyYamlError):
        MetricsCacheYamlImpl(str(path))


def test_the_memory_of_processes(caplog) -> None:
    assert get_cpu_usage(os.getpid()) > 1_000_000
    assert get_cpu_usage("none") == 0
    with caplog.at_level(logging.INFO):
        check_process_mem_usage(io.StringIO(f"{os.getpid()},,\n"))
    assert caplog.messages[-1].startswith(f"{os.getpid()}:")
