"""Compares this tree with a run that was recorded on this machine, in less than three minutes.

`python -m benchmarks.quick --record` records a run, `python -m benchmarks.quick` compares with it. Exit status as of
benchmarks.peers. A slower server is no failure here, because the speed of a shared machine varies by more than most
changes do.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import oracle, peers, wrk
from .environment import environment, environments
from .options import arguments
from .report import OURS, Report

_PRESET = "--only ours --workloads echo --connections 1 16 64 --rounds 3 --seconds 3 --warmup 2 --rates 200 2000"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quick", description=__doc__)
    parser.add_argument("--record", action="store_true", help="keep this run to compare later ones with")
    parser.add_argument("--baseline", type=Path, default=oracle.cache() / "quick.json", help="where it is kept")
    given = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    options = arguments().parse_args(_PRESET.split())
    try:
        venvs, generator = environments(options), wrk.version()
    except (oracle.NoOracleError, OSError) as error:
        print(f"can't run: {error}", file=sys.stderr)
        return 2
    report, interrupted = peers.collect(options, environment(options, venvs, generator), venvs)
    # Runs under different load can't be compared, so it is part of the table.
    load = float(str(report.environment["load average before"]).partition(",")[0])
    now, machine = figures(report), str(report.environment["machine"])
    if now:
        now = {"load average before": load, **now}
    recorded = _read(given.baseline).get(machine, {})
    for fault in report.faults:
        print(f"**INVALID RUN**: {fault}\n")
    for point in report.points:
        if point.fault:
            print(f"Not counted, {point.offered:.0f}/s offered: {point.fault}\n")
    print(f"{machine}; ours {report.environment[OURS]}\n")
    print("\n".join(table(now, recorded)))
    if given.record and not report.faults:
        given.baseline.parent.mkdir(parents=True, exist_ok=True)
        given.baseline.write_text(json.dumps(_read(given.baseline) | {machine: now}, indent=1) + "\n")
    return 130 if interrupted else 1 if report.faults or not now else 0


def figures(report: Report) -> dict[str, float]:
    """Return a number for each name: medians of the closed loop's rounds, and the open loop's points."""
    found: dict[str, float] = {}
    for cell in report.cells:
        samples, marks = cell.samples.get(OURS, []), cell.footprints.get(OURS, [])
        if not samples:
            continue
        where = f"{cell.workload}, {cell.connections} connections: "
        found[where + "requests/s"] = statistics.median(sample.rate for sample in samples)
        found[where + "p50 ms"] = statistics.median(sample.p50 for sample in samples)
        found[where + "p99 ms"] = statistics.median(sample.p99 for sample in samples)
        found[where + "CPU us"] = statistics.median(mark.cpu_us for mark in marks)
        found[where + "front MiB"] = statistics.median(mark.front / 2**20 for mark in marks)
    for point in (each for each in report.points if each.fault is None):
        where = f"{point.workload}, {point.offered:.0f}/s offered: "
        times = {"p50 ms": point.p50, "p99 ms": point.p99, "CPU us": point.cpu_us, "late p99 ms": point.late_p99}
        found |= {where + name: value for name, value in times.items() if value is not None}
    for workload, servers in report.starts.items():
        found |= {f"{workload}: first {name}, s": seconds for name, seconds in servers.get(OURS, {}).items()}
    return found


def table(now: Mapping[str, float], recorded: Mapping[str, float]) -> list[str]:
    """Return a Markdown table, whose last columns are empty without a recorded run."""
    lines = ["| what | now | recorded | now/recorded |", "|---|---:|---:|---:|"]
    for name, value in now.items():
        before = recorded.get(name)
        ratio = "" if not before else f"{value / before:.2f}"
        lines.append(f"| {name} | {value:.2f} | {'' if before is None else f'{before:.2f}'} | {ratio} |")
    return lines


def _read(path: Path) -> dict[str, dict[str, float]]:
    """Return the recorded figures by machine, {} if there are none."""
    return json.loads(path.read_text()) if path.exists() else {}


if __name__ == "__main__":
    sys.exit(main())
