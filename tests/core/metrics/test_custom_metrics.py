"""What handlers emit: declared metrics, detected ones, and whatever else a handler can think of."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from torchserve.core.metrics import custom_metrics as emitted
from torchserve.core.metrics.spec import Declared, MetricsSpec
from torchserve.core.metrics.store import HOST, MetricStore
from torchserve.core.wire.messages import Sample

DECLARED = MetricsSpec(
    model=(
        Declared("counter", "Calls", "Count", ()),
        Declared("gauge", "Time", "ms", ("ModelName", "Level")),
        Declared("histogram", "Sizes", "Bytes", ("ModelName",)),
    )
)


def lines(store: MetricStore, *names: str) -> list[str]:
    return [line for line in store.render(names).decode().splitlines() if not line.startswith("#")]


def sample(name: str, value: float, kind: str = "GAUGE", unit: str = "Milliseconds", **dimensions: str) -> Sample:
    return Sample(name, unit, kind, value, tuple(dimensions.items()))


def counted(*samples: Sample, detect: bool = True) -> MetricStore:
    store = MetricStore(DECLARED, detect=detect)
    store.of_model("m", "1.0").samples(samples, ["id"])
    return store


@pytest.mark.parametrize(
    ("kind", "values", "shown"),
    [
        ("COUNTER", (2.0, 3.0), "5.0"),
        ("COUNTER", (2.0, -3.0), "2.0"),  # a counter never falls
        ("COUNTER", (2.0, math.nan), "2.0"),
        ("GAUGE", (2.0, -3.0), "-3.0"),
        ("GAUGE", (2.0, math.nan), "NaN"),
        ("SUMMARY", (2.0, 3.0), "3.0"),
    ],
)
def test_kinds(kind: str, values: tuple[float, float], shown: str) -> None:
    store = counted(*(sample("Mine", value, kind, ModelName="m", Level="Model") for value in values))
    assert lines(store, "Mine") == [f'Mine{{ModelName="m",Level="Model",Hostname="{HOST}",}} {shown}']


def test_a_histogram() -> None:
    store = counted(*(sample("Mine", value, "HISTOGRAM", Level="Model") for value in (0.02, 0.3, 100.0, math.nan)))
    shown = lines(store, "Mine")
    assert len(shown) == 15 + 2
    assert f'Mine_bucket{{Level="Model",Hostname="{HOST}",le="0.025",}} 1.0' in shown
    assert f'Mine_bucket{{Level="Model",Hostname="{HOST}",le="+Inf",}} 3.0' in shown
    assert f'Mine_count{{Level="Model",Hostname="{HOST}",}} 3.0' in shown
    assert f'Mine_sum{{Level="Model",Hostname="{HOST}",}} 100.32' in shown


def test_the_declaration_decides_kind_unit_and_order() -> None:
    store = counted(
        sample("Calls", 2.0), sample("Calls", 3.0),
        sample("Time", 1.0, Level="Model", ModelName="m"),
        sample("Sizes", 1.0, "COUNTER", ModelName="m"),
        detect=False,
    )  # fmt: skip
    assert lines(store, "Calls") == [f'Calls{{Hostname="{HOST}",}} 5.0']
    assert lines(store, "Time") == [f'Time{{ModelName="m",Level="Model",Hostname="{HOST}",}} 1.0']
    assert f'Sizes_count{{ModelName="m",Hostname="{HOST}",}} 1.0' in lines(store, "Sizes")
    help_lines = [
        line for line in store.render().decode().splitlines() if line.startswith("# HELP") and "Torch" in line
    ]
    assert [line.rpartition(": ")[2] for line in help_lines] == ["Count", "ms", "Bytes"]


def test_what_is_not_declared_is_dropped_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    store = counted(sample("Mine", 1.0), sample("Mine", 2.0), sample("Calls", 1.0), detect=False)
    assert lines(store, "Mine") == []
    assert lines(store, "Calls") != []
    assert caplog.messages == [
        "The model metric Mine is dropped: metrics_config does not list it, and model_metrics_auto_detect is not true"
    ]


def test_one_name_under_other_dimensions_is_left_out_and_named_once(caplog: pytest.LogCaptureFixture) -> None:
    store = counted(
        sample("Mine", 1.0, Level="Model"), sample("Mine", 2.0), sample("Mine", 3.0, Level="Error"),
        sample("Mine", 4.0, Level="x", Other="y"), Sample("Mine", "", "GAUGE", 5.0, (("Level", "a"), ("Level", "b"))),
    )  # fmt: skip
    assert [line.rpartition(" ")[2] for line in lines(store, "Mine")] == ["1.0", "3.0"]
    assert caplog.messages == [
        "Values of the model metric Mine are missing in /metrics: dimensions [] do not fit the declared ['Level']"
    ]


@pytest.mark.parametrize(
    "bad",
    [
        sample("a b", 1.0), sample("0", 1.0), sample("é", 1.0), sample("", 1.0),
        sample("Mine", 1.0, **{"a b": "x"}), sample("Mine", 1.0, unit="a\nb"), sample("Mine", 1.0, __reserved="x"),
        sample("Mine", 1.0, "HISTOGRAM", le="x"), sample("Mine", 1.0, Hostname="x"),
        sample("Requests2XX", 1.0), sample("torchserve_queue_depth", 1.0), sample("Sizes_sum", 1.0),
        sample("torchserve_batch_size_count", 1.0),
    ],
)  # fmt: skip
def test_what_prometheus_can_not_read_does_not_spoil_the_rest(bad: Sample) -> None:
    store = counted(bad, sample("Good", 1.0), bad)
    families = list(text_string_to_metric_families(store.render().decode()))
    assert len({family.name for family in families}) == len(families)
    assert lines(store, "Good") == [f'Good{{Hostname="{HOST}",}} 1.0']


def test_handlers_can_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(emitted, "MAX_FAMILIES", 5)
    monkeypatch.setattr(emitted, "MAX_SERIES", 3)
    store = counted(*(sample("Mine", 1.0, Request=str(number)) for number in range(9)))
    assert len(lines(store, "Mine")) == 3
    assert caplog.messages == [
        "Values of the model metric Mine are missing in /metrics: it has 3 sets of dimensions, and no more are kept"
    ]
    store = counted(*(sample(f"Made_up_{number}", 1.0) for number in range(9)))
    assert len(lines(store, "Made_up_*")) == 2
    store = counted(*(sample(f"Made_up_{number}", 1.0) for number in range(9)), detect=False)
    assert len(caplog.messages) == 3


SAMPLES = st.builds(
    Sample,
    st.from_regex(r"my_[A-Za-z0-9_:]{0,3}", fullmatch=True),
    st.text(max_size=4),
    st.sampled_from(["COUNTER", "GAUGE", "HISTOGRAM", "x"]),
    st.floats(min_value=0.0, allow_nan=False),
    st.dictionaries(st.from_regex(r"d[A-Za-z0-9_]{0,2}", fullmatch=True), st.text(max_size=6), max_size=2).map(
        lambda found: tuple(found.items())
    ),
)


@given(st.lists(SAMPLES, max_size=4))
def test_whatever_is_emitted_can_be_read(samples: list[Sample]) -> None:
    text = counted(*samples).render().decode().replace("\r", "?")
    found = {family.name for family in text_string_to_metric_families(text)}
    for each in samples:
        assert each.name in found or each.name.removesuffix("_total") in found
