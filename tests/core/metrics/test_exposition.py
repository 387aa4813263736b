"""The whole text as Prometheus's own tools read it, the documentation's tables, the dashboard, and no leak."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from torchserve.core.metrics.catalog import LANGUAGE_MODELS, OWN
from torchserve.core.metrics.series import Histogram
from torchserve.core.metrics.spec import read_spec
from torchserve.core.metrics.store import MetricStore
from torchserve.scheduler.job import ReleaseReason

REPO = Path(__file__).parents[3]
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian's prometheus package) is not installed")


def series(store: MetricStore) -> dict[str, set[str]]:
    """The labels of each name that a line of /metrics begins with."""
    found: dict[str, set[str]] = {}
    for line in store.render().decode().splitlines():
        if line[0] != "#":
            name, labels = re.fullmatch(r"([^{ ]+)(?:\{(.*)\})? \S+", line).groups()  # type: ignore[union-attr]
            found.setdefault(name, set()).update(re.findall(r'(\w+)="', labels or ""))
    return found


# ---- Prometheus's tools


def promtool(*command: str, text: bytes = b"") -> tuple[int, list[str]]:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *command], input=text, capture_output=True, check=False)
    return done.returncode, (done.stdout + done.stderr).decode().splitlines()


@needs_promtool
def test_promtool_has_nothing_to_say_of_our_own(eventful: MetricStore) -> None:
    assert promtool("check", "metrics", text=eventful.render(["torchserve_*"])) == (0, [])


@needs_promtool
def test_promtool_dislikes_torchserves_names_and_nothing_else(eventful: MetricStore) -> None:
    code, said = promtool("check", "metrics", text=eventful.render())
    assert code == 3  # 3 is for remarks, 1 for text that it can't read
    about = "metric names should be|label names should be|counter metrics should have|use base unit"
    spec = read_spec()
    theirs = {each.name for each in (*spec.server, *spec.model)}
    assert {line.split()[0] for line in said} <= theirs
    assert [line for line in said if not re.search(about, line)] == []


def test_the_parser_of_prometheus_client_reads_all_of_it(eventful: MetricStore) -> None:
    families = {family.name: family for family in text_string_to_metric_families(eventful.render().decode())}
    spec = read_spec()
    for each in (*spec.server, *spec.model, *OWN):
        family = families[each.name.removesuffix("_total") if each.kind == "counter" else each.name]
        assert family.type == each.kind
        assert family.samples, each.name
        counts = [sample.value for sample in family.samples if sample.name.endswith("_bucket")]
        assert counts == sorted(counts)


def test_our_own_names_are_in_base_units() -> None:
    for each in OWN:
        assert re.fullmatch(r"torchserve_[a-z_]+", each.name)
        assert each.name.endswith("_total") == (each.kind == "counter")
        assert each.kind != "histogram" or each.name.endswith("_seconds") or each.name == "torchserve_batch_size"
        assert not re.search(r"milli|micro|percent|_ms\b", each.name)


@needs_promtool
def test_promtool_dislikes_the_colons_of_vllms_names_and_nothing_else(store_that_generates: MetricStore) -> None:
    code, said = promtool("check", "metrics", text=store_that_generates.render(["vllm:*"]))
    assert code == 3
    assert {line.split()[0] for line in said} == {each.name for each in LANGUAGE_MODELS}
    assert [line for line in said if not line.endswith("metric names should not contain ':'")] == []


def test_the_parser_of_prometheus_client_reads_vllms_names(store_that_generates: MetricStore) -> None:
    text = store_that_generates.render(["vllm:*"]).decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for each in LANGUAGE_MODELS:
        family = families[each.name.removesuffix("_total") if each.kind == "counter" else each.name]
        assert (family.type, bool(family.samples)) == (each.kind, True)


# ---- documentation


def rows(heading: str) -> list[str]:
    section = (REPO / "docs/metrics.md").read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("| `")]


def test_the_documentation_lists_torchserves_metrics() -> None:
    spec = read_spec()
    expected = [(each, each.dimensions) for each in spec.server]
    expected += [(each, (*each.dimensions, "Hostname")) for each in spec.model]
    assert [row.rsplit("|", 2)[0] for row in rows("TorchServe's metrics")] == [
        f"| `{each.name}` | {each.kind} | {each.unit} | {', '.join(labels)} " for each, labels in expected
    ]


def test_the_documentation_lists_our_own() -> None:
    assert rows("Our own") == [
        f"| `{each.name}` | {each.kind} | {', '.join(each.labels)} | {each.meaning} |" for each in OWN
    ]


def test_the_documentation_lists_those_of_language_models() -> None:
    assert rows("Language models") == [
        f"| `{each.name}` | {each.kind} | {', '.join(each.labels)} | {each.meaning} |" for each in LANGUAGE_MODELS
    ]


# ---- the dashboard


def dashboard() -> Any:
    return json.loads((REPO / "deploy/grafana/torchserve.json").read_text())


def queries() -> Iterator[tuple[str, str]]:
    """Where it stands, and the query."""
    board = dashboard()
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


def used(query: str) -> Iterator[tuple[str, set[str]]]:
    """Metrics in a query with the labels that their selectors name."""
    bare = re.sub(r'"[^"]*"', '""', query)
    for name, selector in re.findall(
        r"\b([A-Za-z_]\w+)(?:\{([^}]*)\})?(?=[\[)\s/]|$)", re.sub(r"\bby \([^)]*\)", "", bare)
    ):
        if name not in {"or", "sum", "rate", "increase"}:
            yield name, set(re.findall(r"(\w+)\s*[=!]", selector))


def test_every_query_of_the_dashboard_finds_its_metric_and_labels(eventful: MetricStore) -> None:
    known = series(eventful)
    seen = 0
    for title, query in queries():
        metrics = list(used(query))
        assert metrics, (title, query)
        grouped = set(re.split(r",\s*", ", ".join(re.findall(r"\bby \(([^)]*)\)", query)))) - {""}
        for name, labels in metrics:
            assert name in known, (title, name)
            assert labels | grouped <= known[name], (title, name)
            seen += 1
    assert seen > 30


def test_every_legend_and_variable_names_a_label(eventful: MetricStore) -> None:
    known = series(eventful)
    board = dashboard()
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
            labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert labels, panel["title"]
            assert all(labels <= known[name] for name, _ in used(target["expr"])), panel["title"]
    variables = [each["query"]["query"] for each in board["templating"]["list"] if each["type"] == "query"]
    for query in variables:
        name, selector, label = re.fullmatch(r"label_values\((\w+)(\{.*\})?, (\w+)\)", query).groups()  # type: ignore[union-attr]
        assert {label, *re.findall(r"(\w+)=~", selector or "")} <= known[name]


@needs_promtool
def test_every_query_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:query:{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, (_, query) in enumerate(queries())
    ]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    code, said = promtool("check", "rules", str(tmp_path / "rules.yaml"))
    assert code == 0, said


# ---- no leak


def test_ten_thousand_scrapes_leave_nothing(eventful: MetricStore) -> None:
    for _ in range(100):
        eventful.render()
    before = sys.getallocatedblocks()
    for _ in range(10_000):
        eventful.render()
    assert sys.getallocatedblocks() - before < 500


def test_models_that_come_and_go_leave_nothing(eventful: MetricStore) -> None:
    def come_and_go(times: int) -> None:
        for number in range(times):
            model = eventful.of_model("passing", f"{number % 10}.0")
            model.watch(depth=lambda: 1, in_flight=lambda: 2, workers=lambda state: 3, memory=lambda: 4)
            model.requested(named=False)
            model.succeeded(0.25, 0.125, named=True)
            model.batch_finished(2, 0.5, 0.25, 0.125, ReleaseReason.FULL, "cpu")
            model.worker_loaded(f"W-{number}-passing_{number % 10}.0", 1234.0)
            eventful.forget(model)
            del model

    come_and_go(100)
    text, before = len(eventful.render()), sys.getallocatedblocks()
    come_and_go(2000)
    assert sys.getallocatedblocks() - before < 500
    assert abs(len(eventful.render()) - text) < 500  # the sums of TorchServe's metrics have more digits


def test_open_metrics_has_the_same_samples_and_names_traces(eventful: MetricStore) -> None:
    eventful.engine_metrics("W", '# HELP v:a_total A "b"\n# TYPE v:a_total counter\nv:a_total{x="1"} 2\n')
    eventful.own("torchserve_request_duration_seconds").series("m", "1").update(0.3)
    histogram = eventful.own("torchserve_request_duration_seconds").series("m", "1")
    assert isinstance(histogram, Histogram)
    histogram.exemplify(0.3, "ab" * 16, 1.7e9)
    opened = list(openmetrics.text_string_to_metric_families(eventful.render_open().decode()))
    plain = list(text_string_to_metric_families(eventful.render().decode()))

    def samples(families: Iterable[Metric]) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
        found = [each for one in families for each in one.samples]
        # The parser of the older format adds `_total` to the counters that lack it.
        return {(each.name.removesuffix("_total"), tuple(sorted(each.labels.items())), each.value) for each in found}

    assert samples(opened) == samples(plain)
    assert {family.name: family.type for family in opened}["Requests2XX"] == "unknown"
    assert {family.name: family.type for family in opened}["torchserve_requests"] == "counter"
    (marked,) = [each for family in opened for each in family.samples if each.exemplar is not None]
    assert (marked.name, marked.labels["le"]) == ("torchserve_request_duration_seconds_bucket", "0.5")
    assert marked.exemplar is not None
    assert marked.exemplar.labels == {"trace_id": "ab" * 16}
    assert (marked.exemplar.value, float(marked.exemplar.timestamp)) == (0.3, 1.7e9)
