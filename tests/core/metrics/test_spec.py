"""The metrics configuration: TorchServe's default metrics, and files that are wrong in one place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.errors import InvalidConfig
from torchserve.core.metrics.spec import Declared, MetricsSpec, read_spec

HOST = ("Level", "Hostname")
TS = ("model_name", "model_version", "hostname")
GPU = ("Level", "DeviceId", "Hostname")


def test_the_default_is_torchserves_table() -> None:
    spec = read_spec()
    assert [(each.kind, each.name, each.unit, each.dimensions) for each in spec.server] == [
        ("counter", "Requests2XX", "Count", HOST),
        ("counter", "Requests4XX", "Count", HOST),
        ("counter", "Requests5XX", "Count", HOST),
        ("counter", "ts_inference_requests_total", "Count", TS),
        ("counter", "ts_inference_latency_microseconds", "Microseconds", TS),
        ("counter", "ts_queue_latency_microseconds", "Microseconds", TS),
        ("gauge", "QueueTime", "Milliseconds", HOST),
        ("gauge", "WorkerThreadTime", "Milliseconds", HOST),
        ("gauge", "WorkerLoadTime", "Milliseconds", ("WorkerName", *HOST)),
        ("gauge", "CPUUtilization", "Percent", HOST),
        ("gauge", "MemoryUsed", "Megabytes", HOST),
        ("gauge", "MemoryAvailable", "Megabytes", HOST),
        ("gauge", "MemoryUtilization", "Percent", HOST),
        ("gauge", "DiskUsage", "Gigabytes", HOST),
        ("gauge", "DiskUtilization", "Percent", HOST),
        ("gauge", "DiskAvailable", "Gigabytes", HOST),
        ("gauge", "GPUMemoryUtilization", "Percent", GPU),
        ("gauge", "GPUMemoryUsed", "Megabytes", GPU),
        ("gauge", "GPUUtilization", "Percent", GPU),
    ]
    assert spec.model == (
        Declared("gauge", "HandlerTime", "ms", ("ModelName", "Level")),
        Declared("gauge", "PredictionTime", "ms", ("ModelName", "Level")),
    )


@pytest.mark.parametrize(
    "text", ["", "dimensions: []", "ts_metrics:\nmodel_metrics:\n", "model_metrics:\n  counter:\n  gauge: []\n"]
)
def test_a_file_may_declare_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.yaml").write_text(text)
    assert read_spec(tmp_path / "m.yaml") == MetricsSpec()


def test_a_metric_may_have_no_dimensions(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("model_metrics: {histogram: [{name: X, unit: 1, dimensions: }]}")
    assert read_spec(tmp_path / "m.yaml").model == (Declared("histogram", "X", "1", ()),)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: [", "can't be read: while parsing"),
        ("- a", "the file must be a mapping"),
        ("ts_metrics: 3", "ts_metrics must be a mapping"),
        ("model_metrics: {summary: []}", "model_metrics has the kind 'summary'; a metric is one of counter, gauge"),
        ("ts_metrics: {gauge: 3}", "ts_metrics: gauge must be a list"),
        ("ts_metrics: {gauge: [3]}", "ts_metrics: gauge: entry 1 must be a mapping"),
        ("ts_metrics: {gauge: [{name: X}]}", "ts_metrics: gauge: entry 1 has no unit and no dimensions"),
        ("ts_metrics: {gauge: [{name: X, unit: s, dimensions: a}]}", "dimensions must be a list of names"),
        ("ts_metrics: {gauge: [{name: X, unit: s, dimensions: [1]}]}", "dimensions must be a list of names"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    with pytest.raises(InvalidConfig) as caught:
        read_spec(path)
    assert caught.value.message.startswith(str(path))
    assert why in caught.value.message


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"gone\.yaml can't be read"):
        read_spec(tmp_path / "gone.yaml")


@given(st.binary(max_size=40))
def test_any_bytes_are_a_spec_or_an_invalid_config(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "wild.yaml"
    path.write_bytes(data)
    try:
        assert isinstance(read_spec(path), MetricsSpec)
    except InvalidConfig as error:
        assert str(path) in error.message
