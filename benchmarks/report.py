"""Turns rounds of samples into figures: medians with ranges, ratios of pairs; as JSON and as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

from .io_bytes import IoBytes
from .io_bytes import table as io_bytes_table
from .open_loop import Point, table
from .spike import Spike
from .spike import table as spike_table
from .wrk import Sample

OURS, PEER = "ours", "torchserve"


@dataclass(frozen=True, slots=True)
class Spread:
    """The spread of several readings of one quantity."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the spread of these values. Raises ValueError without values."""
        seen = sorted(values)
        if not seen:
            raise ValueError("a spread needs at least one value")
        return cls(statistics.median(seen), seen[0], seen[-1])

    @property
    def noise(self) -> float:
        """Return the range as a share of the median."""
        return (self.high - self.low) / self.median if self.median else 0.0

    def told(self, digits: int | None = None) -> str:
        """Return `median (low to high)` with `digits` decimals; by default two, or none from 100 on."""
        digits = (0 if self.median >= 100 else 2) if digits is None else digits
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


@dataclass(frozen=True, slots=True)
class Footprint:
    """The memory of a server under load in bytes, and its processor time per request in microseconds.

    `kernel_us` is the kernel's part of that time. `processes` holds each process's name and memory.
    """

    front: int
    workers: int
    cpu_us: float
    kernel_us: float = 0.0
    processes: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class Cell:
    """The rounds of one workload at one number of connections. Samples of equal index are neighbours in
    time: a pair.
    """

    workload: str
    connections: int
    samples: dict[str, list[Sample]] = field(default_factory=dict)
    footprints: dict[str, list[Footprint]] = field(default_factory=dict)

    def figures(self, server: str) -> dict[str, Spread]:
        """Return a server's requests per second, latencies (ms) and processor time (us); percentiles that all rounds
        have.
        """
        runs, prints = self.samples[server], self.footprints[server]
        tails = {name: [getattr(run, name) for run in runs] for name in ("p90", "p999")}
        return {
            "rate": Spread.of(run.rate for run in runs),
            "p50": Spread.of(run.p50 for run in runs),
            "p99": Spread.of(run.p99 for run in runs),
            "cpu_us": Spread.of(mark.cpu_us for mark in prints),
            "kernel_us": Spread.of(mark.kernel_us for mark in prints),
            "front_mib": Spread.of(mark.front / 2**20 for mark in prints),
            "workers_mib": Spread.of(mark.workers / 2**20 for mark in prints),
            **{name: Spread.of(values) for name, values in tails.items() if None not in values},
        }

    def ratio(self, peer: str = PEER) -> Spread | None:
        """Return our rate over a peer's in each pair, None if only one of them ran."""
        return pairwise([s.rate for s in self.samples.get(OURS, ())], [s.rate for s in self.samples.get(peer, ())])


def pairwise(ours: Sequence[float], peers: Sequence[float]) -> Spread | None:
    """Return the spread of ours/peers, pair by pair, or None without pairs. What slowed both runs of a pair cancels
    out.
    """
    pairs = [a / b for a, b in zip(ours, peers, strict=False) if b > 0]
    return Spread.of(pairs) if pairs else None


@dataclass(slots=True)
class Report:
    """A report of a whole run. `faults` make it invalid; `skipped` says what did not run, and why."""

    environment: dict[str, object]
    cells: list[Cell] = field(default_factory=list)
    starts: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    baselines: dict[str, str] = field(default_factory=dict)
    configurations: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    spikes: list[Spike] = field(default_factory=list)
    io_bytes: list[IoBytes] = field(default_factory=list)
    slo: float = 0.05

    def capacity(self, workload: str, server: str) -> float:
        """Return a server's largest median of requests per second over all numbers of connections."""
        cells = [cell for cell in self.cells if cell.workload == workload]
        return max(statistics.median(run.rate for run in cell.samples[server]) for cell in cells)

    def as_json(self) -> dict[str, object]:
        """Return everything, raw samples included."""
        return {
            "valid": not self.faults,
            "faults": self.faults,
            "skipped": self.skipped,
            "environment": self.environment,
            "starts": self.starts,
            "cells": [_cell(cell) for cell in self.cells],
            "floors": self.baselines,
            "configurations": self.configurations,
            "slo_ms": self.slo * 1e3,
            "offered": [point.as_json() for point in self.points],
            "spikes": [spike.as_json() for spike in self.spikes],
            "crossings": [each.as_json() for each in self.io_bytes],
        }

    def as_markdown(self) -> str:
        """Return the tables for a README."""
        lines = [f"**INVALID RUN**: {fault}" for fault in self.faults]
        lines += [f"Skipped: {text}" for text in self.skipped]
        lines += ["", *(f"- {key}: {value}" for key, value in self.environment.items())]
        lines += [f"- model-config.yaml of {name}: {told}" for name, told in self.configurations.items()]
        lines += ["", *_HEAD]
        lines += [row for cell in self.cells for row in _rows(cell)]
        lines += [*table(self.points, self.slo)] if self.points else []
        lines += [*spike_table(self.spikes, self.slo)] if self.spikes else []
        for name, text in self.baselines.items():
            lines += ["", f"Baseline, {name}: the handler alone in a loop: {text}."]
        lines += _processes(self.cells)
        lines += io_bytes_table(self.io_bytes) if self.io_bytes else []
        lines += ["", "| workload | server | until /ping answers 200, s | until the first correct answer, s |"]
        lines += ["|---|---|---:|---:|"]
        lines += [
            f"| {workload} | {server} | {times['ping']:.2f} | {times['answer']:.2f} |"
            for workload, servers in self.starts.items()
            for server, times in servers.items()
        ]
        return "\n".join(lines) + "\n"


_COLUMNS = "p50 ms", "p90", "p99", "p99.9", "ours/it", "CPU us", "of it kernel", "front MiB", "workers MiB"
_HEAD = (
    f"| workload | conns | server | requests/s | {' | '.join(_COLUMNS)} |",
    "|---|---:|---|---:|" + "---:|" * len(_COLUMNS),
)


def _rows(cell: Cell) -> list[str]:
    rows = []
    for server in cell.samples:
        ratio = cell.ratio(server) if server != OURS else None
        figures = cell.figures(server)
        rate = figures["rate"]
        times = [f"{figures[name].median:.2f}" if name in figures else "-" for name in ("p50", "p90", "p99", "p999")]
        others = [f"{figures[name].median:.0f}" for name in ("cpu_us", "kernel_us", "front_mib", "workers_mib")]
        versus = ratio.told(2) if ratio else ""
        rows.append(
            f"| {cell.workload} | {cell.connections} | {server} "
            f"| {rate.told(0)} | {' | '.join(times)} "
            f"| {versus} | {' | '.join(others)} |"
        )
    return rows


def _processes(cells: Sequence[Cell]) -> list[str]:
    """Return a table of each server's processes after its last run, the front first."""
    last = {(cell.workload, name): marks[-1] for cell in cells for name, marks in cell.footprints.items() if marks}
    if not any(mark.processes for mark in last.values()):
        return []
    lines = ["", "| workload | server | resident MiB of each process, the front's first |", "|---|---|---|"]
    for (workload, server), mark in last.items():
        told = ", ".join(f"{name} {memory / 2**20:.0f}" for name, memory in mark.processes)
        lines.append(f"| {workload} | {server} | {told} |")
    return lines


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
