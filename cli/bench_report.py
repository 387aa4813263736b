"""The result of `torchserve bench` as Markdown, as JSON, and as the CSV file that TorchServe's benchmark-ab.py writes.
No I/O.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .loadgen.histogram import Histogram
from .loadgen.outcome import Outcome
from .loadgen.scenario import Open
from .server_stats import ServerStats


@dataclass(frozen=True, slots=True)
class Subject:
    """A description of what was measured.

    `source` names the payloads, `checked` says in words how responses were checked, `described` is the management API's
    JSON of the version that answered, or {} if the server has no such API, and `server` holds the server's own
    statistics.
    """

    model: str
    source: str
    checked: str
    machine: str
    described: Mapping[str, Any]
    server: ServerStats | None
    protocol: str = "rest"


def markdown(outcome: Outcome, subject: Subject) -> str:
    """Return the report that is printed, which can be pasted into an issue."""
    scenario, tally = outcome.scenario, outcome.tally
    faults, remarks = outcome.faults(), outcome.remarks()
    rows = [
        ("load", _load(outcome)),
        *([] if subject.protocol == "rest" else [("protocol", subject.protocol)]),
        ("payloads", _payloads(outcome)),
        ("answers checked", subject.checked),
        ("measured", f"{outcome.seconds:.1f} s, {tally.offered} requests, after {_warmup(outcome)}"),
        ("requests", ", ".join(f"{count} {kind}" for kind, count in sorted(tally.counts.items())) or "none"),
        *_spike(outcome),
        ("generator", _generator(outcome)),
        *_server(subject),
        ("machine of the generator", subject.machine),
    ]
    lines = [f"# {subject.model} at {scenario.address}", ""]
    lines += [f"**INVALID**: {fault}\n" for fault in faults]
    lines += [*_latencies(outcome), ""]
    lines += ["| | |", "|---|---|", *(f"| {name} | {text} |" for name, text in rows)]
    lines += ["", *(f"- {remark}" for remark in remarks)] if remarks else []
    return "\n".join(lines)


def _latencies(outcome: Outcome) -> list[str]:
    tally = outcome.tally
    slo = outcome.scenario.slo
    heads = ["offered/s", "answered/s"] + ([f"within {slo * 1e3:g} ms/s"] if slo else [])
    cells = [_rate(outcome.offered), _rate(outcome.rate)] + ([_rate(outcome.goodput)] if slo else [])
    rows = [("answers", tally.latency), ("refusals", tally.refusal), ("first chunk", tally.first)]
    rows += [("between chunks", tally.gap)]
    lines = [_row(heads), _rule(heads), _row(cells), ""]
    columns = ["ms", "p50", "p90", "p99", "p99.9", "max", "mean"]
    shown = [[name, *_quantiles(histogram)] for name, histogram in rows if histogram.count]
    return [*lines, _row(columns), _rule(columns), *map(_row, shown)]


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _rule(cells: list[str]) -> str:
    return "|" + "---:|" * len(cells)


def _quantiles(histogram: Histogram) -> list[str]:
    values = [histogram.quantile(0.5), *map(histogram.tail, (0.9, 0.99, 0.999)), histogram.longest, histogram.mean]
    return ["-" if value is None else f"{value * 1e3:.2f}" for value in values]


def _rate(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def _load(outcome: Outcome) -> str:
    load = outcome.scenario.load
    if isinstance(load, Open):
        on = f", on {_channels(outcome)}" if outcome.scenario.rpc else ""
        return f"open loop: {load.rate:g} requests/s, {load.arrivals}, seed {outcome.scenario.seed}{on}"
    if outcome.scenario.rpc:
        return f"closed loop: {load.connections} calls in flight on {_channels(outcome)} (a slow server is asked less)"
    return f"closed loop: {load.connections} connections (a slow server is asked less)"


def _channels(outcome: Outcome) -> str:
    count = outcome.scenario.channels
    return f"{count} channel{'' if count == 1 else 's'}"


def _payloads(outcome: Outcome) -> str:
    sizes = [len(payload.body) for payload in outcome.scenario.payloads]
    least, most = min(sizes), max(sizes)
    of = f"{least} bytes" if least == most else f"{least} to {most} bytes"
    return f"{len(sizes)}, of {of}"


def _warmup(outcome: Outcome) -> str:
    agree = "whose last windows agreed" if outcome.settled else "whose last windows differed"
    return f"{outcome.warmup:.1f} s of warm-up" + (f" {agree}" if outcome.windows else "")


def _generator(outcome: Outcome) -> str:
    count = outcome.processes
    text = f"{count} process{'' if count == 1 else 'es'}, {outcome.tally.busy / outcome.seconds:.2f} cores"
    if outcome.late is None:
        return text
    bound = outcome.scenario.lateness_bound() * 1e3
    return f"{text}, late by {outcome.late * 1e3:.2f} ms at p99 ({bound:.2f} ms are allowed)"


def _spike(outcome: Outcome) -> list[tuple[str, str]]:
    load = outcome.scenario.load
    if not isinstance(load, Open) or load.arrivals != "spike":
        return []
    begin, end = load.spike
    after = outcome.recovery
    felt = "not within the run" if after is None else f"{after} s after its end"
    return [("spike", f"twice the rate from {begin:.1f} to {end:.1f} s; 99 % in time again: {felt}")]


def _server(subject: Subject) -> list[tuple[str, str]]:
    told = subject.server
    if told is None or told.batch is None:
        return []
    times = [f"{name} p50 {times[50]:.2f} ms, p99 {times[99]:.2f} ms" for name, times in
             (("queue", told.queue), ("handler, by batch,", told.handler)) if times]  # fmt: skip
    return [("server says, warm-up included", "; ".join([f"mean batch {told.batch:.1f}", *times]))]


def ab_columns(outcome: Outcome, subject: Subject) -> dict[str, object]:
    """Return benchmark-ab.py's columns by name, followed by our own.

    A column whose value can't be seen from outside the server is an empty string.
    """
    tally, model, told = outcome.tally, subject.described, subject.server
    failed = tally.faults + outcome.refused
    percents = {f"P{p}": _ms(tally.latency.quantile(p / 100)) for p in (50, 90, 99)}
    columns: dict[str, object] = {
        "Benchmark": "torchserve bench",
        "TS failed requests": failed,
        "TS throughput": round(outcome.rate, 2),
        **{f"TS latency {name}": value for name, value in percents.items()},
        "TS latency mean": _ms(tally.latency.mean),
        "TS error rate": round(100 * failed / tally.offered, 4) if tally.offered else 0.0,
        "Batch size": model.get("batchSize", ""),
        "Batch delay": model.get("maxBatchDelay", ""),
        "Workers": len(model["workers"]) if "workers" in model else "",
        "Model": f"[.mar]({model.get('modelUrl', subject.model)})",
        "Concurrency": outcome.scenario.load.connections,
        "Input": f"[input]({subject.source})",
        "Requests": tally.offered,
    }
    for p in (50, 90, 99):
        columns[f"Model_p{p}"] = _rounded(told.handler.get(p) if told else None)
    for p in (50, 90, 99):
        columns[f"Queue time p{p}"] = _rounded(told.queue.get(p) if told else None)
    return columns | {
        "TS latency P99.9": _ms(tally.latency.tail(0.999)),
        "Offered rate": round(outcome.offered, 2),
        "Goodput": "" if outcome.goodput is None else round(outcome.goodput, 2),
        "Mean batch": _rounded(told.batch if told else None),
        "Refused requests": outcome.refused,
        "Valid": not outcome.faults(),
    }


def as_csv(columns: Mapping[str, object]) -> str:
    """Return CSV text of two rows: the names of the columns and their values."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerow(columns.values())
    return text.getvalue()


def as_json(outcome: Outcome, subject: Subject) -> dict[str, Any]:
    """Return the JSON of --json. Its keys are public and must not change."""
    told = subject.server
    return {
        "model": subject.model,
        "protocol": subject.protocol,
        "address": str(outcome.scenario.address),
        "machine": subject.machine,
        "checked": subject.checked,
        **outcome.as_json(),
        "server": None if told is None else {
            "mean_batch": told.batch,
            "handler_ms": {f"p{p}": ms for p, ms in told.handler.items()},
            "queue_ms": {f"p{p}": ms for p, ms in told.queue.items()},
        },
    }  # fmt: skip


def _ms(seconds: float | None) -> float | str:
    return "" if seconds is None else round(seconds * 1e3, 3)


def _rounded(value: float | None) -> float | str:
    return "" if value is None else round(value, 3)
