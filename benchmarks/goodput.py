"""Measures how much of a bare loop's work this server delivers in time, and how much is left of that under overload.

Run it as `python -m benchmarks.goodput`; benchmarks/README.md says how it measures. Exit status as of benchmarks.peers,
and 1 also for a missed target.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from . import peers
from .baseline import NoBaselineError, measure_baseline
from .environment import configuration, environment, environments
from .front_door import Finding, serving
from .open_loop import OpenLoad, Point, draw, offer
from .options import arguments
from .report import OURS, Report, Spread
from .servers import Server
from .workload import Workload

LOADS = (0.3, 0.6, 0.9, 1.0, 1.2, 1.5)  # shares of the bare loop's speed
STEADY = 1.25  # ratio of the loop's speeds before and after a round from which on something else used the machine
SHARE, REFUSAL = 0.9, 5.0  # share of the loop's speed and of the peak, at least; milliseconds at most
WAY = 0.9  # share of the SLO that is sent as the deadline; the rest is for the network and the generator
_PRESET = "--only ours --workloads digits imagenet --rounds 3 --seconds 6 --warmup 3"


@dataclass(frozen=True, slots=True)
class Round:
    """A round: a point for each load, ascending, and the bare loop's requests per second right before and
    right after.
    """

    workload: str
    loop: tuple[float, float]
    points: tuple[Point, ...]

    @property
    def bare(self) -> float:
        """Return the bare loop's mean requests per second."""
        return sum(self.loop) / 2

    @property
    def peak(self) -> float:
        """Return the largest goodput of all loads."""
        return max(each.goodput for each in self.points)

    def faults(self) -> Iterator[str]:
        """Yield the reasons why this is no valid measurement."""
        if max(self.loop) > STEADY * min(self.loop):
            yield f"{self.workload}: the bare loop did {self.loop[0]:.0f}, and then {self.loop[1]:.0f} requests/s"
        yield from (f"{self.workload}, {each.offered:.0f}/s: {each.fault}" for each in self.points if each.fault)


def findings(workload: str, rounds: Sequence[Round]) -> Iterator[Finding]:
    """Yield the findings of a workload. Shares are taken within a round, because a machine's speed drifts between
    rounds.
    """
    mine = [each for each in rounds if each.workload == workload]
    yield Finding(f"{workload}: the bare loop, requests/s", Spread.of([each.bare for each in mine]).told())
    yield Finding(f"{workload}: most in time, a second", Spread.of([each.peak for each in mine]).told())
    yield _at_least(f"{workload}: that, as a share of the bare loop", [each.peak / each.bare for each in mine])
    most = [each.points[-1] for each in mine]
    what = f"{workload}: in time at {LOADS[-1]:.0%} load, as a share of the peak"
    yield _at_least(what, [point.goodput / each.peak for point, each in zip(most, mine, strict=True)])
    refusals = [point.refusal_p50 for point in most if point.refusal_p50 is not None]
    if refusals:
        spread = Spread.of(refusals)
        yield Finding(
            f"{workload}: a refusal then, p50 ms", spread.told(), f"< {REFUSAL:g} ms", spread.median < REFUSAL
        )


def _at_least(what: str, shares: Sequence[float]) -> Finding:
    spread = Spread.of(shares)
    return Finding(what, spread.told(), f"≥ {SHARE:g}", spread.median >= SHARE)


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.prog = "python -m benchmarks.goodput"
    parser.set_defaults(slo_ms=200, most_offered=10_000)
    options = parser.parse_args([*_PRESET.split(), *(sys.argv[1:] if argv is None else argv)])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    venvs = environments(options)
    how = f"{options.rounds} rounds of {options.seconds:g} s at each load, {options.warmup:g} s or less to warm up"
    told = environment(options, venvs, "our own") | {"generator": "our own, open loop, same host", "method": how}
    report, rounds, interrupted = Report(told, slo=options.slo_ms / 1e3), [], False
    try:
        with tempfile.TemporaryDirectory(prefix="goodput-") as folder:
            for workload in peers.workloads(options, venvs, Path(folder), report):
                rounds += measured(workload, options, report)
    except KeyboardInterrupt:
        interrupted = True
        report.faults.append("interrupted: the rounds are incomplete")
    found = [finding for name in dict.fromkeys(each.workload for each in rounds) for finding in findings(name, rounds)]
    _write(report, rounds, found, options.out)
    missed = not found or report.faults or any(each.met is False for each in found)
    return 130 if interrupted else 1 if missed else 0


def measured(workload: Workload, options: argparse.Namespace, report: Report) -> list[Round]:
    """Return the rounds. A fault ends them and makes the report invalid."""
    venv, rounds = options.our_venv.absolute(), []
    report.configurations[workload.name] = configuration(workload.archive)
    try:
        with serving(workload, venv, name=OURS) as server:
            server.settle()
            bare = measure_baseline(workload, venv).rate
            for _ in range(options.rounds):
                points = tuple(_offered(server, workload, load, bare, options) for load in LOADS)
                before, bare = bare, measure_baseline(workload, venv).rate
                rounds.append(Round(workload.name, (before, bare), points))
                report.points += points
                report.faults += rounds[-1].faults()
    except (*peers.FAULTS, NoBaselineError) as fault:
        report.faults.append(f"{workload.name}: {fault}")
        peers.say(f"INVALID: {workload.name}: {fault}")
    return rounds


def _offered(server: Server, workload: Workload, load: float, bare: float, options: argparse.Namespace) -> Point:
    slo = options.slo_ms / 1e3
    open_load = OpenLoad(load * bare, options.seconds, slo, warmup=options.warmup, deadline=WAY * slo)
    point = offer(server, workload, open_load)
    refusal = "" if point.refusal_p50 is None else f", refusals in {point.refusal_p50:.2f} ms"
    peers.say(
        f"{workload.name}, {load:.0%} of {bare:.0f}/s offered: {point.goodput:.0f}/s in time,"
        f" {point.refused:.0f}/s refused{refusal} {point.fault or ''}"
    )
    return point


def _write(report: Report, rounds: Sequence[Round], found: Sequence[Finding], out: Path) -> None:
    lines = [report.as_markdown(), "| what | figures | target | met |", "|---|---|---|---|", *map(str, found)]
    out.mkdir(parents=True, exist_ok=True)
    told = report.as_json() | {
        "rounds": [asdict(each) for each in rounds],
        "findings": [asdict(each) for each in found],
    }
    (out / "goodput.json").write_text(json.dumps(told, indent=1) + "\n")
    (out / "goodput.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    try:
        draw(report.points, report.slo, out)
    except ImportError:
        peers.say("no curves: they need matplotlib (pip install 'torchserve[bench]')")


if __name__ == "__main__":
    sys.exit(main())
