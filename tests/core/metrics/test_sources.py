"""What becomes of a metric, by where it comes from, what metrics_config lists, and model_metrics_auto_detect.

Each row is what TorchServe 0.12 wrote to model_metrics.log and showed in /metrics for the same call, but for values that it
gave to the wrong names, and for a file without model_metrics, with which no worker of its starts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from torchserve.core.handlers.metrics.dimension import Dimension
from torchserve.core.handlers.metrics.emitter import MetricsEmitter, MetricTypes
from torchserve.core.handlers.metrics.older_metrics import Metric
from torchserve.core.metrics.lines import Lines
from torchserve.core.metrics.spec import Declared, MetricsSpec, read_spec
from torchserve.core.metrics.store import HOST, MetricStore

ZONE, LEVEL, NAME = Dimension("Zone", "a"), Dimension("Level", "Mine"), Dimension("ModelName", "mine")
MODEL = ("ModelName", "Level")
FILES = {
    "default": read_spec(),
    "lists it": MetricsSpec(
        model=(
            Declared("counter", "C", "count", MODEL),
            Declared("gauge", "G", "ms", MODEL),
            Declared("histogram", "S", "kB", MODEL),
            Declared("gauge", "Z", "ms", (*MODEL, "Zone")),
            Declared("counter", "E", "count", ("Level",)),
            Declared("gauge", "PredictionTime", "ms", MODEL),
        )
    ),
    "lists another": MetricsSpec(model=(Declared("counter", "Other", "count", ()),)),
    "has no model_metrics": MetricsSpec(),
}


class Row(NamedTuple):
    """A call of the API, its line without the host and what is behind it, and the labels that /metrics shows."""

    call: Callable[[MetricsEmitter], Any]
    line: str
    labels: str


DEFAULT = 'ModelName="m",Level="Model"'
UNLISTED = {
    "a counter": Row(lambda m: m.add_counter("C", 1, None, []), "C.Count:1.0|#ModelName:m,Level:Model", DEFAULT),
    "a time": Row(lambda m: m.add_time("G", 1.5, 0), "G.Milliseconds:1.5|#ModelName:m,Level:Model", DEFAULT),
    "a size": Row(
        lambda m: m.add_size("S", 2, None, "kB", [], MetricTypes.HISTOGRAM),
        "S.Kilobytes:2.0|#ModelName:m,Level:Model", DEFAULT,
    ),
    "a percentage": Row(lambda m: m.add_percent("P", 50), "P.Percent:50.0|#ModelName:m,Level:Model", DEFAULT),
    "any unit": Row(lambda m: m.add_metric("M", 7, "km"), "M.km:7.0|#ModelName:m,Level:Model", DEFAULT),
    "a dimension": Row(
        lambda m: m.add_counter("C", 1, None, [ZONE]),
        "C.Count:1.0|#Zone:a,ModelName:m,Level:Model", f'Zone="a",{DEFAULT}',
    ),
    "its own Level": Row(
        lambda m: m.add_time("G", 1.5, None, "ms", [LEVEL]),
        "G.Milliseconds:1.5|#Level:Mine,ModelName:m", 'Level="Mine",ModelName="m"',
    ),
    "its own ModelName": Row(
        lambda m: m.add_metric("M", 7, "km", 0, [NAME]),
        "M.km:7.0|#ModelName:mine,Level:Model", 'ModelName="mine",Level="Model"',
    ),
    "its own of both": Row(
        lambda m: m.add_percent("P", 50, None, [LEVEL, NAME]),
        "P.Percent:50.0|#Level:Mine,ModelName:mine", 'Level="Mine",ModelName="mine"',
    ),
    "an error": Row(lambda m: m.add_error("E", 1), "E.unit:1.0|#Level:Error", 'Level="Error"'),
    "an error with its own Level": Row(
        lambda m: m.add_error("E", 1, [LEVEL]), "E.unit:1.0|#Level:Mine", 'Level="Mine"'
    ),
    "a new metric": Row(
        lambda m: m.add_metric_to_cache("N", "count", ["K"]).add_or_update(2, ["v"]), "N.Count:2.0|#K:v", 'K="v"'
    ),
    "a new metric without dimensions": Row(
        lambda m: m.add_metric_to_cache("N", "count").add_or_update(2), "N.Count:2.0|#", ""
    ),
    "the older API": Row(lambda _: Metric("O", 3, "ms", [ZONE]).update(3), "O.Milliseconds:3.0|#Zone:a", 'Zone="a"'),
}  # fmt: skip
LISTED = {
    "a counter": UNLISTED["a counter"]._replace(line="C.count:1.0|#ModelName:m,Level:Model"),
    "a time": UNLISTED["a time"]._replace(line="G.ms:1.5|#ModelName:m,Level:Model"),
    "a size": UNLISTED["a size"]._replace(line="S.kB:2.0|#ModelName:m,Level:Model"),
    "an error": UNLISTED["an error"]._replace(line="E.count:1.0|#Level:Error"),
    "found by its name": Row(
        lambda m: m.get_metric("G", MetricTypes.GAUGE).add_or_update(4, ["x", "y"]),
        "G.ms:4.0|#ModelName:x,Level:y", 'ModelName="x",Level="y"',
    ),
    # TorchServe gives the values to the names in the order in which they come: ModelName:Mine,Level:m.
    "its own Level": Row(
        lambda m: m.add_time("G", 8, None, "ms", [LEVEL]), "G.ms:8.0|#ModelName:m,Level:Mine", 'ModelName="m",Level="Mine"'
    ),
    "a dimension": Row(
        lambda m: m.add_time("Z", 9, None, "ms", [ZONE]),
        "Z.ms:9.0|#ModelName:m,Level:Model,Zone:a", f'{DEFAULT},Zone="a"',
    ),
}  # fmt: skip
BACKEND = Row(lambda m: m.add_time("PredictionTime", 7), "PredictionTime.ms:7.0|#ModelName:m,Level:Model", DEFAULT)
DETECTED = BACKEND._replace(line="PredictionTime.Milliseconds:7.0|#ModelName:m,Level:Model")
NOTHING = Row(BACKEND.call, "", "")


def cases() -> list[Any]:
    rows: list[Any] = []
    for detect in (False, True):
        rows += [("lists it", detect, row) for row in LISTED.values()]
        for file in ("default", "lists another", "has no model_metrics"):
            rows += [(file, detect, row if detect else row._replace(line="")) for row in UNLISTED.values()]
        rows += [(file, detect, BACKEND) for file in ("default", "lists it")]
        rows += [(file, detect, DETECTED if detect else NOTHING) for file in ("lists another", "has no model_metrics")]
    return rows


def played(call: Callable[[MetricsEmitter], Any], file: str, *, detect: bool, mode: str) -> tuple[list[str], list[str]]:
    """Return the texts of model_metrics.log, without what follows the dimensions, and the lines of model metrics."""
    put: list[Lines] = []
    store = MetricStore(FILES[file], detect=detect, mode=mode, put=lambda _, entry: bool(put.append(entry)) or True)
    emitter = MetricsEmitter("m", store.declared)
    emitter.set_request_ids({0: "id"})
    call(emitter)
    store.of_model("m", "1.0").samples(emitter.take(), ["id"])
    logged = [text.partition("|#hostname:")[0] for entry in put for _, text, _ in entry.take()]
    shown = [line for line in store.render().decode().splitlines() if f'Hostname="{HOST}"' in line]
    return logged, [line for line in shown if "_bucket" not in line and 'Level="Host"' not in line]


@pytest.mark.parametrize("mode", ["log", "prometheus", "legacy"])
@pytest.mark.parametrize(("file", "detect", "row"), cases())
def test_what_torchserve_wrote(file: str, detect: bool, row: Row, mode: str) -> None:
    logged, shown = played(row.call, file, detect=detect, mode=mode)
    assert logged == ([row.line] if row.line and mode != "prometheus" else [])
    labels = [line[line.index("{") + 1 : line.index("Hostname=")].rstrip(",") for line in shown]
    assert set(labels) == ({row.labels} if row.line and mode != "legacy" else set())


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda m: m.add_counter("C", 1, None, [ZONE, ZONE]), "C.Count:1.0|#Zone:a,Zone:a,ModelName:m,Level:Model"),
        (lambda m: m.add_counter("C", 1, None, [Dimension("Hostname", "h")]), "C.Count:1.0|#Hostname:h,ModelName:m,Level:Model"),
        (lambda m: m.add_counter("no name", 1), "no name.Count:1.0|#ModelName:m,Level:Model"),
        (lambda m: m.add_counter("Requests2XX", 1), "Requests2XX.Count:1.0|#ModelName:m,Level:Model"),
    ],
)  # fmt: skip
def test_what_prometheus_can_not_have_is_logged_all_the_same(call: Callable[[MetricsEmitter], Any], line: str) -> None:
    assert played(call, "default", detect=True, mode="log") == ([line], [])
    assert played(call, "default", detect=False, mode="log") == ([], [])


def test_a_declared_metric_that_prometheus_can_not_have_keeps_its_unit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "odd", MetricsSpec(model=(Declared("gauge", "an odd one", "furlongs", MODEL),)))
    odd = played(
        lambda m: m.add_metric("an odd one", 2, "ms", metric_type=MetricTypes.GAUGE), "odd", detect=False, mode="log"
    )
    assert odd == (["an odd one.furlongs:2.0|#ModelName:m,Level:Model"], [])


def test_the_log_has_more_series_than_prometheus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchserve.core.metrics.custom_metrics.MAX_SERIES", 2)
    monkeypatch.setattr("torchserve.core.metrics.custom_metrics.MAX_FAMILIES", 4)

    def many(emitter: MetricsEmitter) -> None:
        for number in range(5):
            emitter.add_counter("Each", 1, None, [Dimension("Request", number)])
            emitter.add_counter(f"Name{number}", 1)

    logged, shown = played(many, "default", detect=True, mode="log")
    assert (len(logged), len(shown)) == (10, 2 + 1)
