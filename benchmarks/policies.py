"""Measures whether batches are ever worse than none, or than TorchServe's rule.

Three of our servers, whose archives differ in one line of their yaml, are driven in turn: `adaptive`, `fixed`, and a
batch size of 1. Exit status as of benchmarks.peers, and 1 also for a verdict that fails. benchmarks/README.md says how
it judges.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from . import peers, wrk
from .check import Checker
from .config_override import override_config
from .environment import configuration, environment, environments
from .open_loop import OpenLoad, Point, offer
from .options import arguments
from .report import Cell, Report, Spread, pairwise
from .servers import Server
from .workload import Workload

ADAPTIVE, FIXED, SINGLE = "adaptive", "fixed", "batch size 1"
VARIANTS: dict[str, dict[str, object]] = {
    ADAPTIVE: {"batchPolicy": "adaptive"},
    FIXED: {"batchPolicy": "fixed"},
    SINGLE: {"batchSize": 1},
}
LOADS = (0.3, 0.6, 0.9, 1.2)
_PRESET = "--only ours --workloads echo digits imagenet --connections 1 16 64 256 --rounds 3 --seconds 4 --warmup 3"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict on one wish. `figures` shows both sides, `ratio` is theirs round by round."""

    wish: str
    where: str
    figures: str
    ratio: Spread | None
    holds: bool


def judge(wish: str, where: str, ours: Sequence[float], others: Sequence[float], *, more: bool) -> Verdict:
    """Return the verdict: it fails if each of `ours` is worse than each of `others`. With `more`, larger values are
    better.

    Runs of the same server differ, so neither of two servers with overlapping ranges is called the better one.
    """
    one, other = Spread.of(ours), Spread.of(others)
    holds = one.high >= other.low if more else one.low <= other.high
    return Verdict(wish, where, f"{one.told()} against {other.told()}", pairwise(ours, others), holds)


def verdicts(report: Report) -> Iterator[Verdict]:
    """Yield the verdicts on the closed loop, then those on the valid points of the open loop."""
    for cell in report.cells:
        where, runs = f"{cell.workload}, {cell.connections} connections", cell.samples
        if not {ADAPTIVE, FIXED} <= runs.keys():
            continue
        rates = [[run.rate for run in runs[name]] for name in (ADAPTIVE, FIXED)]
        yield judge("as many requests/s as fixed", where, *rates, more=True)
        tails = [[run.p99 for run in runs[name]] for name in (ADAPTIVE, FIXED)]
        yield judge("p99 (ms) as of fixed", where, *tails, more=False)
        if cell.connections == 1 and SINGLE in runs:
            lone = [[run.p50 for run in runs[name]] for name in (ADAPTIVE, SINGLE)]
            yield judge("a lone request's p50 (ms) as with batch size 1", where, *lone, more=False)
    sound = [point for point in report.points if point.fault is None]
    for workload, offered in dict.fromkeys((point.workload, point.offered) for point in sound):
        mine, theirs = (
            [each for each in sound if (each.workload, each.offered, each.server) == (workload, offered, name)]
            for name in (ADAPTIVE, FIXED)
        )
        if mine and theirs:
            yield from _of_points(f"{workload}, {offered:.0f}/s offered", mine, theirs)


def _of_points(where: str, mine: Sequence[Point], theirs: Sequence[Point]) -> Iterator[Verdict]:
    goodput = [[each.goodput for each in points] for points in (mine, theirs)]
    yield judge("as many in time a second as fixed", where, *goodput, more=True)
    tails = [[each.p99 for each in points if each.p99 is not None] for points in (mine, theirs)]
    if all(tails):
        yield judge("p99 (ms) from when it was due as of fixed", where, *tails, more=False)


def main(argv: Sequence[str] | None = None) -> int:
    options = _arguments().parse_args([*_PRESET.split(), *(sys.argv[1:] if argv is None else argv)])
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        venvs, generator = environments(options), wrk.version()
    except OSError as error:
        print(f"can't run: {error}", file=sys.stderr)
        return 2
    report, interrupted = Report(environment(options, venvs, generator), slo=options.slo_ms / 1e3), False
    try:
        with tempfile.TemporaryDirectory(prefix="policies-") as folder:
            for workload in peers.workloads(options, venvs, Path(folder), report):
                _measure(workload, options, report, Path(folder))
    except KeyboardInterrupt:
        interrupted = True
        report.faults.append("interrupted: the rounds are incomplete")
    found = list(verdicts(report))
    _write(report, found, options.out)
    whole = found and not report.faults and all(each.holds for each in found)
    return 130 if interrupted else 0 if whole else 1


def _arguments() -> argparse.ArgumentParser:
    parser = arguments(__doc__)
    parser.prog = "python -m benchmarks.policies"
    parser.set_defaults(loads=list(LOADS), slo_ms=200, most_offered=1500)
    return parser


def _measure(workload: Workload, options: argparse.Namespace, report: Report, folder: Path) -> None:
    checker = Checker(workload)
    report.configurations[workload.name] = configuration(workload.archive)
    with ExitStack() as stack:
        try:
            servers = [_start(stack, name, workload, options, checker, folder) for name in VARIANTS]
            for connections in options.connections:
                _closed(Cell(workload.name, connections), servers, workload, options, report, folder)
            capacity = max(report.capacity(workload.name, name) for name in (ADAPTIVE, FIXED))
            for load in options.loads:
                _open(servers, workload, load * capacity, options, report)
        except peers.FAULTS as fault:
            report.faults.append(f"{workload.name}: {fault}")
            peers.say(f"INVALID: {workload.name}: {fault}")


def _start(
    stack: ExitStack, name: str, workload: Workload, options: argparse.Namespace, checker: Checker, folder: Path
) -> Server:
    archive = override_config(workload.archive, folder / name.replace(" ", "-"), VARIANTS[name])
    server = stack.enter_context(
        Server(name.replace(" ", "-"), options.our_venv.absolute(), replace(workload, archive=archive))
    )
    server.name = name
    server.wait_for_ping()
    peers.until_right(server, checker)
    return server


def _closed(
    cell: Cell, servers: Sequence[Server], workload: Workload, options: argparse.Namespace, report: Report, folder: Path
) -> None:
    """Measure the closed loop. The server with batch size 1 takes part at one connection only."""
    checker = Checker(workload)
    taking_part = [server for server in servers if server.name != SINGLE or cell.connections == 1]
    report.cells.append(cell)
    for server in taking_part:
        peers.warm_up(server, workload, cell.connections, options.warmup, folder)
    for number in range(options.rounds):
        for server in taking_part:
            peers.run(server, cell, checker, report, peers.ClosedRun(number + 1, options.seconds, folder))


def _open(
    servers: Sequence[Server], workload: Workload, rate: float, options: argparse.Namespace, report: Report
) -> None:
    if rate > options.most_offered:
        report.skipped.append(
            f"{workload.name}: {rate:.0f}/s offered are more than the generator can ({options.most_offered:g})"
        )
        return
    load = OpenLoad(rate, max(options.seconds, 5.0), report.slo, warmup=max(options.warmup, 3.0))
    for _ in range(options.rounds):
        for server in servers:
            if server.name != SINGLE:
                point = replace(offer(server, workload, load), offered=rate)
                report.points.append(point)
                told = f"{point.goodput:.0f}/s in time {point.fault or ''}"
                peers.say(f"{workload.name}, {rate:.0f}/s offered, {server.name}: {told}")


def _write(report: Report, found: Sequence[Verdict], out: Path) -> None:
    lines = [
        report.as_markdown(),
        "| wish | where | adaptive against the other | ratio | holds |",
        "|---|---|---|---|---|",
    ]
    for each in found:
        ratio = each.ratio.told(2) if each.ratio else ""
        word = "yes" if each.holds else "**no**"
        lines.append(f"| {each.wish} | {each.where} | {each.figures} | {ratio} | {word} |")
    out.mkdir(parents=True, exist_ok=True)
    told = report.as_json() | {"verdicts": [asdict(each) for each in found]}
    (out / "policies.json").write_text(json.dumps(told, indent=1) + "\n")
    (out / "policies.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    sys.exit(main())
