"""How much of a bare loop's work comes in time through this server, and what an overload leaves of that.

Run it as `python -m benchmarks.goodput`; benchmarks/README.md says how it measures. Exit status as of benchmarks.peers,
with 1 for a target that is missed.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import peers
from .floor import NoFloorError, floor
from .front_door import Finding, serving
from .offered import Offer, Point, draw, offer
from .options import arguments
from .report import OURS, Report, Spread
from .reworded import reworded
from .surroundings import configuration, environment, environments
from .workload import Workload

LOADS = (0.3, 0.6, 0.9, 1.0, 1.2, 1.5)  # of the bare loop
SHARE, REFUSAL = 0.9, 5.0  # of the loop, and of the peak; milliseconds
WAY = 0.9  # what the model may take of the SLO; the rest is for the way there and back, on one machine with the sender
_PRESET = "--only ours --workloads digits imagenet --rounds 3 --seconds 6 --warmup 3"


@dataclass(frozen=True, slots=True)
class Round:
    """The bare loop's requests/s, and what came of each load, the least first, right after it."""

    workload: str
    bare: float
    points: tuple[Point, ...]

    @property
    def peak(self) -> float:
        return max(each.goodput for each in self.points)


def findings(workload: str, rounds: Sequence[Round]) -> Iterator[Finding]:
    """Each share is taken within its round, as a machine's speed wanders between them."""
    mine = [each for each in rounds if each.workload == workload]
    yield Finding(f"{workload}: the bare loop, requests/s", _told(each.bare for each in mine))
    yield Finding(f"{workload}: most in time, a second", _told(each.peak for each in mine))
    yield _at_least(f"{workload}: that, as a share of the bare loop", [each.peak / each.bare for each in mine])
    most = [each.points[-1] for each in mine]
    what = f"{workload}: in time at {LOADS[-1]:.0%} load, as a share of the peak"
    yield _at_least(what, [point.goodput / each.peak for point, each in zip(most, mine, strict=True)])
    refusals = [point.refusal_p50 for point in most if point.refusal_p50 is not None]
    if refusals:
        met = Spread.of(refusals).median < REFUSAL
        yield Finding(f"{workload}: a refusal then, p50 ms", _told(refusals), f"< {REFUSAL:g} ms", met)


def _at_least(what: str, shares: Sequence[float]) -> Finding:
    return Finding(what, _told(shares), f"≥ {SHARE:g}", Spread.of(shares).median >= SHARE)


def _told(values: Iterator[float] | Sequence[float]) -> str:
    spread = Spread.of(values)
    digits = 0 if spread.median >= 100 else 2
    return f"{spread.median:.{digits}f} ({spread.low:.{digits}f} to {spread.high:.{digits}f})"


def main(argv: Sequence[str] | None = None) -> int:
    parser = arguments(__doc__)
    parser.prog = "python -m benchmarks.goodput"
    parser.set_defaults(slo_ms=200, most_offered=10_000)
    options = parser.parse_args([*_PRESET.split(), *(sys.argv[1:] if argv is None else argv)])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    venvs = environments(options)
    report, rounds, interrupted = Report(environment(options, venvs, "our own"), slo=options.slo_ms / 1e3), [], False
    try:
        with tempfile.TemporaryDirectory(prefix="goodput-") as folder:
            for workload in peers.workloads(options, venvs, Path(folder), report):
                rounds += measured(workload, options, report, Path(folder))
    except KeyboardInterrupt:
        interrupted = True
        report.faults.append("interrupted: the rounds are incomplete")
    found = [finding for name in dict.fromkeys(each.workload for each in rounds) for finding in findings(name, rounds)]
    _write(report, rounds, found, options.out)
    missed = not found or report.faults or any(each.met is False for each in found)
    return 130 if interrupted else 1 if missed else 0


def measured(workload: Workload, options: argparse.Namespace, report: Report, folder: Path) -> list[Round]:
    """The rounds whose points are measurements; a fault ends it and makes the report invalid."""
    slo, venv = options.slo_ms, options.our_venv.absolute()
    archive = reworded(workload.archive, folder / "with-slo", {"latencySlo": round(WAY * slo)})
    told, rounds = replace(workload, archive=archive), []
    report.configurations[workload.name] = configuration(archive)
    try:
        with serving(told, venv, name=OURS) as server:
            for _ in range(options.rounds):
                bare, points = floor(told, venv).rate, []
                for load in LOADS:
                    point = offer(server, told, Offer(load * bare, options.seconds, slo / 1e3, warmup=options.warmup))
                    points.append(point)
                    refusal = "" if point.refusal_p50 is None else f", refusals in {point.refusal_p50:.2f} ms"
                    peers.say(
                        f"{workload.name}, {load:.0%} of {bare:.0f}/s offered: {point.goodput:.0f}/s in time,"
                        f" {point.refused:.0f}/s refused{refusal} {point.fault or ''}"
                    )
                report.points += points
                report.faults += [
                    f"{workload.name}, {each.offered:.0f}/s: {each.fault}" for each in points if each.fault
                ]
                rounds.append(Round(workload.name, bare, tuple(points)))
    except (*peers.FAULTS, NoFloorError) as fault:
        report.faults.append(f"{workload.name}: {fault}")
        peers.say(f"INVALID: {workload.name}: {fault}")
    return rounds


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
