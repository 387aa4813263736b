"""The metrics API: each call's sample, as TorchServe 0.12 logs it, less its leaking default dimensions."""

from __future__ import annotations

import logging
import re

import pytest

from torchserve.core.handlers.metrics.emitter import (
    Dimension,
    MetricsCacheKeyError,
    MetricsCacheTypeError,
    MetricsCacheValueError,
    MetricsEmitter,
    MetricTypes,
)
from torchserve.core.wire.messages import Metric, Sample

MODEL = (("ModelName", "mm"), ("Level", "Model"))
CONFIGURED = (
    Metric("Cnt", "Count", "COUNTER", ("ModelName", "Level")),
    Metric("G", "ms", "GAUGE", ("ModelName", "Level", "foo")),
    Metric("H", "ms", "HISTOGRAM", ("ModelName",)),
    Metric("Bare", "km", "GAUGE", ()),
)


@pytest.fixture
def metrics() -> MetricsEmitter:
    made = MetricsEmitter("mm", CONFIGURED)
    made.set_request_ids({0: "r0", 1: "r1"})
    return made


@pytest.mark.parametrize(
    ("call", "sample"),
    [
        (lambda m: m.add_counter("C", 1, None), Sample("C", "Count", "COUNTER", 1.0, MODEL)),
        (lambda m: m.add_counter("C", 1.5, 0), Sample("C", "Count", "COUNTER", 1.5, MODEL, 0)),
        (lambda m: m.add_counter("C", 1, 9), Sample("C", "Count", "COUNTER", 1.0, MODEL)),
        (
            lambda m: m.add_counter("C", 1, None, [Dimension("a", 2)]),
            Sample("C", "Count", "COUNTER", 1.0, (("a", "2"), *MODEL)),
        ),
        (lambda m: m.add_time("T", 1.5, None, "ms"), Sample("T", "Milliseconds", "GAUGE", 1.5, MODEL)),
        (lambda m: m.add_time("T", -1.5, 1, "s"), Sample("T", "Seconds", "GAUGE", -1.5, MODEL, 1)),
        (
            lambda m: m.add_time("T", 1, metric_type=MetricTypes.HISTOGRAM),
            Sample("T", "Milliseconds", "HISTOGRAM", 1.0, MODEL),
        ),
        (lambda m: m.add_size("S", 3.0), Sample("S", "Megabytes", "GAUGE", 3.0, MODEL)),
        (lambda m: m.add_size("S", 3.0, unit="GB"), Sample("S", "Gigabytes", "GAUGE", 3.0, MODEL)),
        (lambda m: m.add_percent("P", 50), Sample("P", "Percent", "GAUGE", 50.0, MODEL)),
        (
            lambda m: m.add_counter("C", 1, None, [Dimension("Level", "Mine")]),
            Sample("C", "Count", "COUNTER", 1.0, (("Level", "Mine"), ("ModelName", "mm"))),
        ),
        (
            lambda m: m.add_error("E", 1, [Dimension("Level", "Mine")]),
            Sample("E", "unit", "COUNTER", 1.0, (("Level", "Mine"),)),
        ),
        (lambda m: m.add_error("E", 1), Sample("E", "unit", "COUNTER", 1.0, (("Level", "Error"),))),
        (lambda m: m.add_metric("M", 7, "km"), Sample("M", "km", "COUNTER", 7.0, MODEL)),
        (lambda m: m.add_metric("M", 7, None), Sample("M", "unit", "COUNTER", 7.0, MODEL)),
        (
            lambda m: m.add_metric("G", 7, "ms", 0, [Dimension("foo", 1)], MetricTypes.GAUGE),
            Sample("G", "Milliseconds", "GAUGE", 7.0, (*MODEL, ("foo", "1")), 0),
        ),
        (
            lambda m: m.get_metric("G", MetricTypes.GAUGE).add_or_update(-3, ["m", "l", "f"]),
            Sample("G", "Milliseconds", "GAUGE", -3.0, (("ModelName", "m"), ("Level", "l"), ("foo", "f"))),
        ),
        (
            lambda m: m.get_metric("H", MetricTypes.HISTOGRAM).add_or_update(3, ["m"], "r1"),
            Sample("H", "Milliseconds", "HISTOGRAM", 3.0, (("ModelName", "m"),), 1),
        ),
        (
            lambda m: m.get_metric("G", MetricTypes.GAUGE).update(3, "r0", [Dimension("foo", 1)]),
            Sample("G", "Milliseconds", "GAUGE", 3.0, (("foo", "1"),), 0),
        ),
        (
            lambda m: m.add_metric_to_cache("N", "unit", ["d1"], MetricTypes.GAUGE).add_or_update(2, ["v1"]),
            Sample("N", "unit", "GAUGE", 2.0, (("d1", "v1"),)),
        ),
        (lambda m: m.add_metric_to_cache("N", "count").add_or_update(2), Sample("N", "Count", "COUNTER", 2.0, ())),
    ],
)
def test_each_call_emits_one_sample(metrics: MetricsEmitter, call, sample: Sample) -> None:
    call(metrics)
    assert metrics.take() == (sample,)
    assert metrics.take() == ()


def test_dimensions_do_not_leak_from_call_to_call(metrics: MetricsEmitter) -> None:
    mine = [Dimension("a", "b")]
    metrics.add_counter("C", 1, None, mine)
    metrics.add_counter("D", 1)
    metrics.add_error("E", 1)
    metrics.add_counter("F", 1)
    assert len(mine) == 1
    assert [sample.dimensions for sample in metrics.take()] == [
        (("a", "b"), *MODEL),
        MODEL,
        (("Level", "Error"),),
        MODEL,
    ]


def test_update_changes_the_metric_for_that_call_only(metrics: MetricsEmitter) -> None:
    gauge = metrics.get_metric("G", MetricTypes.GAUGE)
    gauge.update(1, "", [])
    gauge.add_or_update(1, ["a", "b", "c"])
    assert [len(sample.dimensions) for sample in metrics.take()] == [0, 3]


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda m: m.add_counter("C", -1), "cannot be negative"),
        (lambda m: m.get_metric("Cnt").add_or_update(-2, ["a", "b"]), "cannot be negative"),
        (lambda m: m.get_metric("G", MetricTypes.GAUGE).add_or_update(3, ["m"]), r"\['m'\] should correspond to"),
        (lambda m: m.add_metric("Bare", 7, "km", None, [], MetricTypes.GAUGE), "should correspond to"),
    ],
)
def test_refused_with_an_error_in_the_log(metrics: MetricsEmitter, call, reason: str, caplog) -> None:
    with caplog.at_level(logging.ERROR):
        call(metrics)
    assert metrics.take() == ()
    assert re.search(reason, caplog.text)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda m: m.add_time("T", 1, None, "h"), MetricsCacheValueError),
        (lambda m: m.add_size("S", 1, None, "TB"), MetricsCacheValueError),
        (lambda m: m.add_counter(5, 1), MetricsCacheTypeError),
        (lambda m: m.add_counter("C", "a"), TypeError),
        (lambda m: m.add_metric("C", 1, "ms", None, None, "gauge"), MetricsCacheTypeError),
        (lambda m: m.add_metric_to_cache(1, "unit"), MetricsCacheTypeError),
        (lambda m: m.add_metric_to_cache("N", None), MetricsCacheTypeError),
        (lambda m: m.add_metric_to_cache("N", "unit", "ModelName"), MetricsCacheTypeError),
        (lambda m: m.add_metric_to_cache("N", "unit", {"ModelName": 1}), MetricsCacheTypeError),
        (lambda m: m.add_metric_to_cache("N", "unit", metric_type="gauge"), MetricsCacheTypeError),
        (lambda m: m.get_metric("H", MetricTypes.GAUGE), MetricsCacheKeyError),
        (lambda m: m.get_metric("H", "histogram"), MetricsCacheTypeError),
    ],
)
def test_raised(metrics: MetricsEmitter, call, error: type[Exception]) -> None:
    with pytest.raises(error):
        call(metrics)


def test_a_metric_is_found_again_under_its_type(metrics: MetricsEmitter, caplog) -> None:
    first = metrics.add_metric_to_cache("N", "ms", ["d"], MetricTypes.GAUGE)
    assert metrics.get_metric("N", MetricTypes.GAUGE) is first
    with pytest.raises(KeyError):
        metrics.get_metric("N")
    metrics.add_metric_to_cache("N", "ms", ["d"], MetricTypes.GAUGE)
    assert "Overriding existing key" in caplog.text
    assert metrics.cache_keys() == ["counter:Cnt", "gauge:G", "gauge:Bare", "gauge:N", "histogram:H"]


def test_dimension() -> None:
    assert str(Dimension("a", 1)) == "a:1"
    assert Dimension("a", 1).to_dict() == {"Name": "a", "Value": 1}


@pytest.mark.parametrize(
    "configured",
    [
        (),
        (Metric("PredictionTime", "ms", "GAUGE", ("Level", "ModelName")),),
        (Metric("PredictionTime", "s", "HISTOGRAM", ("ModelName", "Level")),),
        (Metric("PredictionTime", "ms", "GAUGE", ("ModelName",)),),
    ],
    ids=["not declared", "in another order", "as a histogram, too", "without a dimension"],
)
def test_the_time_of_a_batch_is_the_sample_that_add_time_makes(configured: tuple[Metric, ...]) -> None:
    quick, plain = MetricsEmitter("mm", configured), MetricsEmitter("mm", configured)
    for took in (1.234, 5.0, 5.678):
        for each in (quick, plain):
            each.set_request_ids({0: "r0"})
        quick.batch_took(took)
        plain.add_time("PredictionTime", round(took, 2))
        assert quick.take() == plain.take()


def test_the_time_of_a_batch_follows_a_metric_that_the_handler_replaces(metrics: MetricsEmitter) -> None:
    metrics.batch_took(1.0)
    metrics.batch_took(2.0)
    metrics.add_metric_to_cache("PredictionTime", "s", ["Level", "ModelName"], MetricTypes.GAUGE)
    metrics.batch_took(3.0)
    metrics.batch_took(4.0)
    swapped = (MODEL[1], MODEL[0])
    assert [(each.value, each.unit, each.dimensions) for each in metrics.take()] == [
        (1.0, "Milliseconds", MODEL), (2.0, "Milliseconds", MODEL), (3.0, "Seconds", swapped), (4.0, "Seconds", swapped),
    ]  # fmt: skip
