"""Drives TorchServe and this server in turn with the same archives and requests, and reports both.

Run it as `python -m benchmarks.peers`; benchmarks/README.md says how it measures, and what it doesn't.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from torchserve.cli.loadgen.swarm import GeneratorError

from . import oracle, wrk
from .check import Checker, WrongAnswerError
from .floor import floor
from .offered import Offer, draw, offer
from .process import NotServingError, ServerProcess
from .report import OURS, PEER, Cell, Footprint, Report
from .rival import KINDS, Rival, find_rival, rival_version
from .servers import JOB_QUEUE_SIZE, Server
from .spike import LASTS, PEAK, spike
from .spike import draw as draw_spikes
from .workload import (
    ECHOES,
    LARGE,
    ROOT,
    UnavailableError,
    Workload,
    digits,
    echo,
    from_folder,
    imagenet,
    sentences,
)

WORKLOADS = (*ECHOES, "digits", "imagenet", LARGE, "sentences")
FAULTS = (NotServingError, WrongAnswerError, wrk.UnreadableReportError, GeneratorError, OSError)


def main(argv: Sequence[str] | None = None) -> int:
    """0: a valid report; 1: an invalid one, which says so; 2: nothing could be run; 130: interrupted."""
    options = arguments().parse_args(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the servers are stopped then too
    try:
        venvs, generator = environments(options), wrk.version()
    except (oracle.NoOracleError, OSError) as error:
        print(f"can't run: {error}", file=sys.stderr)
        return 2
    report, interrupted = collect(options, environment(options, venvs, generator), venvs)
    write(report, options.out)
    return 130 if interrupted else 1 if report.faults or not report.cells else 0


def collect(options: argparse.Namespace, told: dict[str, object], venvs: dict[str, Path]) -> tuple[Report, bool]:
    """The report, and whether Ctrl-C has cut it short."""
    report, interrupted = Report(told, slo=options.slo_ms / 1e3), False
    try:
        with tempfile.TemporaryDirectory(prefix="peers-") as folder:
            for workload in workloads(options, venvs, Path(folder), report):
                measure(workload, venvs, options, report, Path(folder))
    except KeyboardInterrupt:
        interrupted = True
        report.faults.append("interrupted: the rounds are incomplete")
    return report, interrupted


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--only", choices=(OURS, PEER), help="run one server only; there is no ratio then")
    parser.add_argument("--torchserve-venv", type=Path, help=f"holds TorchServe; default ${oracle.VARIABLE} or new")
    parser.add_argument("--our-venv", type=Path, default=Path(sys.prefix), help="holds our server; default: this one")
    parser.add_argument(
        "--rivals",
        nargs="*",
        choices=tuple(KINDS),
        default=[],
        help="other servers around the same handler",
    )
    parser.add_argument("--rates", nargs="*", type=float, default=[], help="requests/s to offer in an open loop, after")
    parser.add_argument(
        "--loads", nargs="*", type=float, default=[], help="the same, as shares of what each server did"
    )
    parser.add_argument("--spike", action="store_true", help=f"{LASTS} s at {PEAK:g} times what each server did, after")
    parser.add_argument(
        "--most-offered", type=float, default=5000, help="requests/s a spike may have, by the generator (default 5000)"
    )
    parser.add_argument("--slo-ms", type=float, default=50, help="what counts as answered in time (default 50)")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=["echo", "digits"])
    parser.add_argument("--payloads", type=Path, help="a folder whose files are sent in turn, not the workload's own")
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs at each number of connections (default 5)")
    parser.add_argument("--seconds", type=float, default=10, help="of one run (default 10)")
    parser.add_argument("--warmup", type=float, default=5, help="seconds before the first round of each (default 5)")
    parser.add_argument("--digits-image", type=Path, help="default: the first image below examples/digits")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for peers.json and peers.md")
    return parser


def environments(options: argparse.Namespace) -> dict[str, Path]:
    """The virtual environment of each server that takes part, TorchServe first."""
    venvs = {} if options.only == OURS else {PEER: oracle.find(options.torchserve_venv)}
    venvs |= {name: find_rival(name) for name in options.rivals}
    return venvs if options.only == PEER else {**venvs, OURS: options.our_venv.absolute()}


def environment(options: argparse.Namespace, venvs: dict[str, Path], generator: str) -> dict[str, object]:
    """What a reader must know to judge the figures."""
    return {
        "machine": f"{os.cpu_count()} cores, {_processor()}, Linux {platform.release()}",
        "load average before": ", ".join(f"{load:.2f}" for load in os.getloadavg()),
        "Python": platform.python_version(),
        **{name: (rival_version if name in KINDS else _version)(name, venv) for name, venv in venvs.items()},
        "generator": f"{generator}, one thread, closed loop, same host",
        "method": f"{options.rounds} rounds of {options.seconds:g} s, servers in turn, "
        f"after {options.warmup:g} s of warm-up; job_queue_size {JOB_QUEUE_SIZE}",
    }


def _version(_name: str, venv: Path) -> str:
    return oracle.version(venv)


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def workloads(options: argparse.Namespace, venvs: dict[str, Path], folder: Path, report: Report) -> Iterator[Workload]:
    """The workloads that can run; the report tells of the others."""
    archiver = venvs.get(PEER, venvs.get(OURS, Path())) / "bin" / "torch-model-archiver"
    own = venvs.get(OURS, Path()) / "bin" / "torch-model-archiver"  # for those made with this environment's packages
    for name in options.workloads:
        try:
            if name in ("imagenet", LARGE):
                made = imagenet(own, folder, name)
            elif name == "sentences":
                made = sentences(own, folder)
            else:
                is_echo = name in ECHOES
                made = echo(archiver, folder, name) if is_echo else digits(archiver, folder, options.digits_image)
            yield from_folder(made, options.payloads) if options.payloads else made
        except (UnavailableError, OSError) as error:
            report.skipped.append(f"{name}: {error}")
            say(f"skipped {name}: {error}")


def measure(
    workload: Workload, venvs: dict[str, Path], options: argparse.Namespace, report: Report, folder: Path
) -> None:
    """One workload from start to stop of its servers; a fault ends it and makes the report invalid."""
    checker, bare = Checker(workload), floor(workload)
    if bare is not None:
        report.floors[workload.name] = str(bare)
    with ExitStack() as stack:
        try:
            servers = list(start_all(stack, venvs, workload, checker, report))
            for connections in options.connections:
                cell = Cell(workload.name, connections)
                report.cells.append(cell)
                for server in servers:
                    checker.check(server.predictions, dialect=server.dialect)
                    wrk.drive(server.predictions, script_for(server, workload, folder), connections, options.warmup)
                for number in range(options.rounds):
                    for server in servers:
                        lua = script_for(server, workload, folder)
                        run(server, cell, checker, lua, options.seconds, report, number + 1)
            for rate in options.rates:
                for server in servers:
                    offer_to(server, workload, rate, options, report)
            for load in options.loads:
                for server in servers:
                    offer_to(server, workload, load * report.capacity(workload.name, server.name), options, report)
            for server in servers if options.spike else ():
                spike_at(server, workload, options, report)
        except FAULTS as fault:
            report.faults.append(f"{workload.name}: {fault}")
            say(f"INVALID: {workload.name}: {fault}")


def start_all(
    stack: ExitStack, venvs: dict[str, Path], workload: Workload, checker: Checker, report: Report
) -> Iterator[ServerProcess]:
    """A rival that doesn't start is left out, and the report says so; TorchServe and we have to."""
    for name, venv in venvs.items():
        if name in KINDS and workload.handler is None:
            report.skipped.append(f"{workload.name}: {name}: the handler needs TorchServe's own classes")
            continue
        try:
            yield start(stack, name, venv, workload, checker, report)
        except (NotServingError, WrongAnswerError) as error:
            if name not in KINDS:
                raise
            report.skipped.append(f"{workload.name}: {name}: {error}")


def script_for(server: ServerProcess, workload: Workload, folder: Path) -> Path:
    """wrk's script of the workload's body in the server's dialect."""
    lua, dialect, files = folder / f"{server.name}.lua", server.dialect, []
    for place, body in enumerate(workload.ragged or (workload.body,)):
        files.append(folder / f"{server.name}.{place}.body")
        files[-1].write_bytes(dialect.wrap(body))
    lua.write_text(wrk.script(files, dialect.content_type or workload.content_type, headers=dialect.headers))
    return lua


def offer_to(
    server: ServerProcess, workload: Workload, rate: float, options: argparse.Namespace, report: Report
) -> None:
    """One point of the open loop's curve. What a server fails at is in the table: the others go on."""
    point = offer(server, workload, Offer(rate, options.seconds, options.slo_ms / 1e3, warmup=max(options.warmup, 3.0)))
    report.points.append(point)
    say(f"{workload.name}, {rate:g}/s offered, {server.name}: {point.goodput:.0f}/s in time {point.fault or ''}")


def spike_at(server: ServerProcess, workload: Workload, options: argparse.Namespace, report: Report) -> None:
    """A spike over what this server did in the closed loop, where the generator can offer so much."""
    capacity = report.capacity(workload.name, server.name)
    if PEAK * capacity > options.most_offered:
        told = f"a spike of {PEAK * capacity:.0f}/s is more than the generator can ({options.most_offered:g})"
        report.skipped.append(f"{workload.name}: {server.name}: {told}")
        return
    seen = spike(server, workload, capacity, options.slo_ms / 1e3, max(options.warmup, 3.0))
    report.spikes.append(seen)
    say(f"{workload.name}, spike of {seen.peak:.0f}/s, {server.name}: recovery {seen.recovery} s {seen.fault or ''}")


def start(
    stack: ExitStack, name: str, venv: Path, workload: Workload, checker: Checker, report: Report
) -> ServerProcess:
    """Starts one server while no other works, and notes how long it took to be there and to answer rightly."""
    server = stack.enter_context((Rival if name in KINDS else Server)(name, venv, workload))
    times = {"ping": server.wait_for_ping(), "answer": until_right(server, checker)}
    report.starts.setdefault(workload.name, {})[name] = times
    say(f"{workload.name}: {name} answers after {times['answer']:.1f} s")
    return server


def until_right(server: ServerProcess, checker: Checker) -> float:
    """Seconds from the start until the first right answer."""
    while True:
        try:
            checker.check(server.predictions, count=1, dialect=server.dialect)
            return server.age()
        except WrongAnswerError:
            if server.age() > 180:
                raise
            time.sleep(0.02)


def run(
    server: ServerProcess,
    cell: Cell,
    checker: Checker,
    lua: Path,
    seconds: float,
    report: Report,
    number: int,
) -> None:
    """One measurement of one server."""
    checker.check(server.predictions, dialect=server.dialect)
    before = server.usage()
    sample = wrk.drive(server.predictions, lua, cell.connections, seconds)
    after = server.usage()
    where = f"{cell.workload}, {cell.connections} connections, {server.name}, round {number}"
    if sample.fault:
        report.faults.append(f"{where}: {sample.fault}")
    spent = (after.cpu_seconds - before.cpu_seconds) * 1e6 / max(sample.requests, 1)
    cell.samples.setdefault(server.name, []).append(sample)
    cell.footprints.setdefault(server.name, []).append(Footprint(after.front, after.workers, spent))
    say(f"{where}: {sample.rate:.0f} requests/s, p50 {sample.p50:.2f} ms, p99 {sample.p99:.2f} ms {sample.fault or ''}")


def write(report: Report, out: Path) -> None:
    """The report as peers.json and peers.md in the folder `out`, and on standard output."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "peers.json").write_text(json.dumps(report.as_json(), indent=1) + "\n")
    (out / "peers.md").write_text(report.as_markdown())
    print(report.as_markdown())
    if report.points or report.spikes:
        try:
            for picture in [*draw(report.points, report.slo, out), *draw_spikes(report.spikes, report.slo, out)]:
                say(f"drawn: {picture}")
        except ImportError:
            say("no curves: they need matplotlib (pip install 'torchserve[bench]')")


def say(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
