"""From rounds of samples to figures: medians with their range, ratios pair by pair, as JSON and as a Markdown table."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from .offered import Point, table
from .spike import Spike
from .spike import table as spike_table
from .wrk import Sample

OURS, PEER = "ours", "torchserve"


@dataclass(frozen=True, slots=True)
class Spread:
    """Several readings of one quantity; `noise` is the range as a share of the median."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """ValueError without values."""
        seen = sorted(values)
        if not seen:
            raise ValueError("a spread needs at least one value")
        return cls(statistics.median(seen), seen[0], seen[-1])

    @property
    def noise(self) -> float:
        return (self.high - self.low) / self.median if self.median else 0.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """Resident bytes of a server under load, and the processor time it took per request in microseconds."""

    front: int
    workers: int
    cpu_us: float


@dataclass(slots=True)
class Cell:
    """The rounds of one workload at one number of connections; lists of equal index are one pair."""

    workload: str
    connections: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    footprints: dict[str, list[Footprint]] = field(default_factory=dict)

    def figures(self, server: str) -> dict[str, Spread]:
        """Requests a second, latencies (ms) and processor time (us) of one server over its rounds."""
        runs, prints = self.samples[server], self.footprints[server]
        return {
            "rate": Spread.of(run.rate for run in runs),
            "p50": Spread.of(run.p50 for run in runs),
            "p99": Spread.of(run.p99 for run in runs),
            "cpu_us": Spread.of(mark.cpu_us for mark in prints),
            "front_mib": Spread.of(mark.front / 2**20 for mark in prints),
            "workers_mib": Spread.of(mark.workers / 2**20 for mark in prints),
        }

    def ratio(self, peer: str = PEER) -> Spread | None:
        """Our rate over a peer's in each pair of neighbouring runs; None when only one of them ran."""
        return pairwise([s.rate for s in self.samples.get(OURS, ())], [s.rate for s in self.samples.get(peer, ())])


def pairwise(ours: Sequence[float], peers: Sequence[float]) -> Spread | None:
    """The spread of ours/peers, pair by pair: what both runs of a pair suffered alike drops out."""
    pairs = [a / b for a, b in zip(ours, peers, strict=False) if b > 0]
    return Spread.of(pairs) if pairs else None


@dataclass(slots=True)
class Report:
    """A whole run. `faults` make it invalid; `skipped` says which workload didn't run, and why."""

    environment: dict[str, object]
    cells: list[Cell] = field(default_factory=list)
    starts: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    floors: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    spikes: list[Spike] = field(default_factory=list)
    slo: float = 0.05

    def capacity(self, workload: str, server: str) -> float:
        """The most requests a second that a server's rounds had in the median, over all numbers of connections."""
        cells = [cell for cell in self.cells if cell.workload == workload]
        return max(statistics.median(run.rate for run in cell.samples[server]) for cell in cells)

    def as_json(self) -> dict[str, object]:
        """Everything, raw samples included."""
        return {
            "valid": not self.faults,
            "faults": self.faults,
            "skipped": self.skipped,
            "environment": self.environment,
            "starts": self.starts,
            "cells": [_cell(cell) for cell in self.cells],
            "floors": self.floors,
            "slo_ms": self.slo * 1e3,
            "offered": [point.as_json() for point in self.points],
            "spikes": [spike.as_json() for spike in self.spikes],
        }

    def as_markdown(self) -> str:
        """The tables for a README: rates and latencies, then starts."""
        lines = [f"**INVALID RUN**: {fault}" for fault in self.faults]
        lines += [f"Skipped: {text}" for text in self.skipped]
        lines += ["", *(f"- {key}: {value}" for key, value in self.environment.items()), "", *_HEAD]
        lines += [row for cell in self.cells for row in _rows(cell)]
        lines += [*table(self.points, self.slo)] if self.points else []
        lines += [*spike_table(self.spikes, self.slo)] if self.spikes else []
        for name, text in self.floors.items():
            lines += ["", f"Floor, {name}: the handler alone in a loop: {text}."]
        lines += ["", "| workload | server | until /ping answers 200, s | until the first correct answer, s |"]
        lines += ["|---|---|---:|---:|"]
        lines += [
            f"| {workload} | {server} | {times['ping']:.2f} | {times['answer']:.2f} |"
            for workload, servers in self.starts.items()
            for server, times in servers.items()
        ]
        return "\n".join(lines) + "\n"


_HEAD = (
    "| workload | conns | server | requests/s | p50 ms | p99 ms | ours/it | CPU us | front MiB | workers MiB |",
    "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|",
)


def _rows(cell: Cell) -> list[str]:
    rows = []
    for server in cell.samples:
        ratio = cell.ratio(server) if server != OURS else None
        figures = cell.figures(server)
        rate, p50, p99, cpu_us, front, workers = figures.values()
        versus = f"{ratio.median:.2f} ({ratio.low:.2f} to {ratio.high:.2f})" if ratio else ""
        rows.append(
            f"| {cell.workload} | {cell.connections} | {server} "
            f"| {rate.median:.0f} ({rate.low:.0f} to {rate.high:.0f}) | {p50.median:.2f} | {p99.median:.2f} "
            f"| {versus} | {cpu_us.median:.0f} | {front.median:.0f} | {workers.median:.0f} |"
        )
    return rows


def _cell(cell: Cell) -> dict[str, object]:
    ratio = cell.ratio()
    rivals = {name: cell.ratio(name) for name in cell.samples if name != OURS}
    return {
        "workload": cell.workload,
        "connections": cell.connections,
        "ratio": asdict(ratio) if ratio else None,
        "ratios": {name: asdict(each) for name, each in rivals.items() if each},
        "servers": {
            server: {
                "figures": {
                    name: asdict(spread) | {"noise": spread.noise} for name, spread in cell.figures(server).items()
                },
                "samples": [asdict(sample) for sample in samples],
                "footprints": [asdict(mark) for mark in cell.footprints[server]],
            }
            for server, samples in cell.samples.items()
        },
    }
