"""The metrics as Prometheus reads them: TorchServe's names, labels and commas, whatever a handler emits."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from torchserve.core.metrics.store import HOST, MetricStore
from torchserve.core.wire.messages import Sample

FAMILIES = {
    "Requests2XX": "counter", "Requests4XX": "counter", "Requests5XX": "counter",
    "ts_inference_requests_total": "counter", "ts_inference_latency_microseconds": "counter",
    "ts_queue_latency_microseconds": "counter", "QueueTime": "gauge", "WorkerThreadTime": "gauge",
    "WorkerLoadTime": "gauge",
}  # fmt: skip


def lines(store: MetricStore, *names: str) -> list[str]:
    """What is shown, without the comments."""
    return [line for line in store.render(names).decode().splitlines() if not line.startswith("#")]


def test_what_there_is_before_anything_happened() -> None:
    text = MetricStore().render().decode()
    assert [line.split()[2:] for line in text.splitlines() if line.startswith("# TYPE")] == [
        list(family) for family in FAMILIES.items()
    ]
    assert f'Requests2XX{{Level="Host",Hostname="{HOST}",}} 0.0\n' in text


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
        (507, "Requests5XX"), (304, "Requests5XX"), (101, "Requests5XX"),
    ],
)  # fmt: skip
def test_requests_by_class(status: int, name: str) -> None:
    store = MetricStore()
    store.request(status)
    store.request(status)
    shown = lines(store, "Requests2XX", "Requests4XX", "Requests5XX")
    assert sorted(line.rpartition(" ")[2] for line in shown) == ["0.0", "0.0", "2.0"]
    assert next(line for line in shown if line.endswith(" 2.0")).startswith(name)


def test_predictions_are_summed_by_the_version_that_was_named() -> None:
    store = MetricStore()
    store.prediction("m", None, 1000.0, 250.0)
    store.prediction("m", None, 500.0, 50.0)
    store.prediction("m", "1.0", 7.0, 0.0)
    labels = {
        version: f'{{model_name="m",model_version="{version}",hostname="{HOST}",}}' for version in ("default", "1.0")
    }
    assert lines(
        store, "ts_inference_requests_total", "ts_inference_latency_microseconds", "ts_queue_latency_microseconds"
    ) == [
        f"ts_inference_requests_total{labels['default']} 2.0",
        f"ts_inference_requests_total{labels['1.0']} 1.0",
        f"ts_inference_latency_microseconds{labels['default']} 1500.0",
        f"ts_inference_latency_microseconds{labels['1.0']} 7.0",
        f"ts_queue_latency_microseconds{labels['default']} 300.0",
        f"ts_queue_latency_microseconds{labels['1.0']} 0.0",
    ]


def test_gauges_show_the_last_value() -> None:
    store = MetricStore()
    store.prediction("m", None, 1.0, 3000.0)
    store.prediction("m", None, 1.0, 1500.0)
    store.worker_answered(4.5)
    store.worker_answered(-0.25)  # two clocks that disagree by a hair
    store.worker_loaded("W-9000-m_1.0", 1234.0)
    assert lines(store, "QueueTime", "WorkerThreadTime", "WorkerLoadTime") == [
        f'QueueTime{{Level="Host",Hostname="{HOST}",}} 1.5',
        f'WorkerThreadTime{{Level="Host",Hostname="{HOST}",}} 0.0',
        f'WorkerLoadTime{{WorkerName="W-9000-m_1.0",Level="Host",Hostname="{HOST}",}} 1234.0',
    ]


def test_a_model_that_was_removed_keeps_its_counters_and_goes_on_with_them() -> None:
    store = MetricStore()
    store.prediction("m", None, 1.0, 1.0)
    store.prediction("m", "1.0", 1.0, 1.0)
    store.prediction("other", None, 1.0, 1.0)
    before = lines(store, "ts_inference_requests_total")
    store.forget("m")
    store.forget("nobody")
    assert lines(store, "ts_inference_requests_total") == before
    store.prediction("m", None, 1.0, 1.0)
    assert lines(store, "ts_inference_requests_total")[0].endswith(" 2.0")


def test_only_what_is_asked_for() -> None:
    store = MetricStore()
    assert store.render(["nothing"]) == b""
    assert store.render(["QueueTime", "nothing"]).count(b"# TYPE") == 1
    assert store.render(()).count(b"# TYPE") == len(FAMILIES)


# ---- what handlers emit


def sample(name: str, value: float, kind: str = "GAUGE", unit: str = "ms", **dimensions: str) -> Sample:
    return Sample(name, unit, kind, value, tuple(dimensions.items()))


@pytest.mark.parametrize(
    ("kind", "values", "shown"),
    [
        ("COUNTER", (2.0, 3.0), "5.0"),
        ("COUNTER", (2.0, -3.0), "2.0"),  # a counter never falls
        ("GAUGE", (2.0, -3.0), "-3.0"),
        ("SUMMARY", (2.0, 3.0), "3.0"),
    ],
)
def test_kinds(kind: str, values: tuple[float, float], shown: str) -> None:
    store = MetricStore()
    for value in values:
        store.samples("m", [sample("Mine", value, kind, ModelName="m", Level="Model")])
    assert lines(store, "Mine") == [f'Mine{{ModelName="m",Level="Model",Hostname="{HOST}",}} {shown}']


def test_a_histogram() -> None:
    store = MetricStore()
    store.samples("m", [sample("Mine", value, "HISTOGRAM", Level="Model") for value in (0.02, 0.3, 100.0)])
    shown = lines(store, "Mine")
    assert len(shown) == 15 + 2
    assert f'Mine_bucket{{Level="Model",Hostname="{HOST}",le="0.025",}} 1.0' in shown
    assert f'Mine_bucket{{Level="Model",Hostname="{HOST}",le="+Inf",}} 3.0' in shown
    assert f'Mine_count{{Level="Model",Hostname="{HOST}",}} 3.0' in shown
    assert f'Mine_sum{{Level="Model",Hostname="{HOST}",}} 100.32' in shown


@pytest.mark.parametrize(
    ("unit", "shown"), [("ms", "Milliseconds"), ("MB", "Megabytes"), ("images", "images"), ("", "")]
)
def test_units_are_spelt_out(unit: str, shown: str) -> None:
    store = MetricStore()
    store.samples("m", [sample("Mine", 1.0, unit=unit)])
    help_line = store.render(["Mine"]).decode().splitlines()[0]
    assert help_line == f"# HELP Mine Torchserve prometheus gauge metric with unit: {shown}"


def test_one_name_under_other_dimensions_is_left_out() -> None:
    store = MetricStore()
    store.samples("m", [sample("Mine", 1.0, Level="Model"), sample("Mine", 2.0), sample("Mine", 3.0, Level="Error")])
    store.samples("m", [sample("QueueTime", 9.0, Level="Model", Other="x")])
    assert [line.rpartition(" ")[2] for line in lines(store, "Mine")] == ["1.0", "3.0"]
    assert lines(store, "QueueTime") == [f'QueueTime{{Level="Host",Hostname="{HOST}",}} 0.0']


UNREADABLE = pytest.mark.xfail(strict=True, reason="prometheus_client takes any name; the classic text format doesn't")


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(sample("a b", 1.0), marks=UNREADABLE),
        pytest.param(sample("0", 1.0), marks=UNREADABLE),
        pytest.param(sample("é", 1.0), marks=UNREADABLE),
        pytest.param(sample("Mine", 1.0, **{"a b": "x"}), marks=UNREADABLE),
        pytest.param(sample("Mine", 1.0, unit="a\nb"), marks=UNREADABLE),
        sample("", 1.0),
        sample("Mine", 1.0, __reserved="x"),
        sample("Mine", 1.0, "HISTOGRAM", le="x"),
    ],
)
def test_what_prometheus_can_not_read_does_not_spoil_the_rest(bad: Sample) -> None:
    store = MetricStore()
    store.samples("m", [bad, sample("Good", 1.0)])
    found = [family.name for family in text_string_to_metric_families(store.render().decode())]
    assert found[-1] == "Good"
    assert set(found) <= {*FAMILIES, "ts_inference_requests", "Mine", "Good"}


SAMPLES = st.builds(
    Sample,
    st.from_regex(r"my_[A-Za-z0-9_:]{0,3}", fullmatch=True),
    st.text(st.characters(exclude_characters="\n"), max_size=4),
    st.sampled_from(["COUNTER", "GAUGE", "HISTOGRAM", "x"]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.dictionaries(st.from_regex(r"d[A-Za-z0-9_]{0,2}", fullmatch=True), st.text(max_size=6), max_size=2).map(
        lambda found: tuple(found.items())
    ),
)


@given(st.lists(SAMPLES, max_size=4))
def test_whatever_is_emitted_can_be_read(emitted: list[Sample]) -> None:
    store = MetricStore()
    store.samples("m", emitted)
    text = store.render().decode()
    assert list(text_string_to_metric_families(text))
    for each in emitted:
        assert f"\n{each.name}{{" in text or f"\n{each.name}_bucket{{" in text


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\nb", "a,b}", "é", ""])
def test_label_values_come_back_as_they_were(text: str) -> None:
    store = MetricStore()
    store.samples("m", [sample("Mine", 1.0, Dim=text)])
    (family,) = text_string_to_metric_families(store.render(["Mine"]).decode())
    assert family.samples[0].labels == {"Dim": text, "Hostname": HOST}


def test_a_value_that_is_no_number_is_shown_as_one() -> None:
    store = MetricStore()
    store.samples("m", [sample("Mine", math.nan)])
    assert lines(store, "Mine") == [f'Mine{{Hostname="{HOST}",}} NaN']
