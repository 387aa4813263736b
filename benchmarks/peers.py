"""Drives TorchServe and this server in turn with the same archives and requests, and reports both.

Run it as `python -m benchmarks.peers`; benchmarks/README.md says how it measures, and what it does not measure.
"""

from __future__ import annotations

import argparse
import itertools
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from torchserve.cli.loadgen.generator import GeneratorError

from . import oracle, wrk
from .baseline import NoBaselineError, measure_baseline
from .check import Checker, WrongAnswerError
from .curves import draw as draw_closed
from .environment import configuration, environment, environments, handlers
from .io_bytes import NotTracedError, count_io_bytes
from .open_loop import OpenLoad, draw, offer
from .options import arguments
from .process import NotServingError, ServerProcess
from .report import OURS, PEER, Cell, Footprint, Report
from .rival import KINDS, Rival
from .servers import Server
from .spike import PEAK, spike
from .spike import draw as draw_spikes
from .workload import (
    APPROXIMATE,
    ECHOES,
    LARGE,
    SIZED,
    UnavailableError,
    Workload,
    digits,
    echo,
    from_folder,
    imagenet,
    sentences,
    sized,
)

FAULTS = (NotServingError, WrongAnswerError, wrk.UnreadableReportError, GeneratorError, OSError)


def main(argv: Sequence[str] | None = None) -> int:
    """Return the exit status: 0 for a valid report, 1 for an invalid one, 2 if nothing could run, 130 if
    interrupted.
    """
    options = arguments(__doc__).parse_args(argv)
    # SIGTERM raises KeyboardInterrupt, so that the servers are stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        venvs, generator = environments(options), wrk.version()
    except (oracle.NoOracleError, OSError) as error:
        print(f"can't run: {error}", file=sys.stderr)
        return 2
    report, interrupted = collect(options, environment(options, venvs, generator), venvs)
    write(report, options.out)
    return 130 if interrupted else 1 if report.faults or not report.cells else 0


def collect(options: argparse.Namespace, told: dict[str, object], venvs: dict[str, Path]) -> tuple[Report, bool]:
    """Return the report, and whether Ctrl-C has cut it short."""
    report, interrupted = Report(told, slo=options.slo_ms / 1e3), False
    try:
        with tempfile.TemporaryDirectory(prefix="peers-") as folder:
            for workload in workloads(options, venvs, Path(folder), report):
                measure(workload, venvs, options, report, Path(folder))
    except KeyboardInterrupt:
        interrupted = True
        report.faults.append("interrupted: the rounds are incomplete")
    return report, interrupted


def workloads(options: argparse.Namespace, venvs: dict[str, Path], folder: Path, report: Report) -> Iterator[Workload]:
    """Yield the workloads that can run. The report names the others."""
    archiver = venvs.get(PEER, venvs.get(OURS, Path())) / "bin" / "torch-model-archiver"
    # Packs examples that need this environment's packages.
    own = venvs.get(OURS, Path()) / "bin" / "torch-model-archiver"
    for name in options.workloads:
        try:
            if name in ("imagenet", LARGE, APPROXIMATE):
                made = imagenet(own, folder, name)
            elif name == "sentences":
                made = sentences(own, folder)
            elif name in SIZED:
                made = sized(archiver, folder, name)
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
    """Measure one workload, from the start of its servers to their end. A fault ends it and makes the
    report invalid.
    """
    checker = Checker(workload)
    report.configurations[workload.name] = configuration(workload.archive)
    try:
        report.baselines[workload.name] = str(measure_baseline(workload, options.our_venv.absolute()))
    except NoBaselineError as error:
        report.skipped.append(f"{workload.name}: baseline: {error}")
    with ExitStack() as stack:
        try:
            servers = list(start_all(stack, venvs, workload, checker, report, options))
            for connections in options.connections:
                cell = Cell(workload.name, connections)
                report.cells.append(cell)
                for server in servers:
                    checker.check(server.predictions, adapter=server.adapter)
                    warm_up(server, workload, connections, options.warmup, folder)
                for number in range(options.rounds):
                    for server in servers:
                        run(server, cell, checker, report, ClosedRun(number + 1, options.seconds, folder))
            for rate in options.rates:
                for server in servers:
                    offer_to(server, workload, rate, options, report)
            for load in options.loads:
                for server in servers:
                    rate = load * report.capacity(workload.name, server.name)
                    if can_be_offered(rate, server, workload, options, report):
                        offer_to(server, workload, rate, options, report)
            for server in servers if options.spike else ():
                spike_at(server, workload, options, report)
            for server in servers if options.bytes else ():
                count_bytes(server, workload, report, folder)
        except FAULTS as fault:
            report.faults.append(f"{workload.name}: {fault}")
            say(f"INVALID: {workload.name}: {fault}")


def start_all(
    stack: ExitStack,
    venvs: dict[str, Path],
    workload: Workload,
    checker: Checker,
    report: Report,
    options: argparse.Namespace,
) -> Iterator[ServerProcess]:
    """Yield the started servers. A rival that does not start is left out, and the report says so."""
    for name, venv in venvs.items():
        if name in KINDS and KINDS[name].strings and workload.name not in ECHOES:
            report.skipped.append(f"{workload.name}: {name}: takes nothing but JSON strings here")
            continue
        try:
            server = Rival(name, venv, workload, handlers(options)) if name in KINDS else Server(name, venv, workload)
            yield start(stack, server, checker, report)
        except (NotServingError, WrongAnswerError) as error:
            if name not in KINDS:
                raise
            report.skipped.append(f"{workload.name}: {name}: {error}")


def script_for(server: ServerProcess, workload: Workload, folder: Path) -> Path:
    """Write and return wrk's script, with the workload's bodies in the server's own format."""
    lua, adapter, files = folder / f"{server.name}.lua", server.adapter, []
    for place, body in enumerate(workload.ragged or (workload.body,)):
        files.append(folder / f"{server.name}.{place}.body")
        files[-1].write_bytes(adapter.wrap(body))
    lua.write_text(wrk.script(files, adapter.kind(workload.content_type), headers=adapter.headers))
    return lua


def offer_to(
    server: ServerProcess, workload: Workload, rate: float, options: argparse.Namespace, report: Report
) -> None:
    """Measure a point of the open loop. If the server fails at it, the table says so and the others are measured."""
    load = OpenLoad(rate, options.seconds, options.slo_ms / 1e3, warmup=max(options.warmup, 3.0))
    point = offer(server, workload, load)
    report.points.append(point)
    say(f"{workload.name}, {rate:g}/s offered, {server.name}: {point.goodput:.0f}/s in time {point.fault or ''}")


def can_be_offered(
    rate: float, server: ServerProcess, workload: Workload, options: argparse.Namespace, report: Report
) -> bool:
    """Return whether the generator can offer this rate. If it can't, the report says so."""
    if rate > options.most_offered:
        told = f"{rate:.0f}/s are more than the generator can offer ({options.most_offered:g})"
        report.skipped.append(f"{workload.name}: {server.name}: {told}")
    return rate <= options.most_offered


def spike_at(server: ServerProcess, workload: Workload, options: argparse.Namespace, report: Report) -> None:
    """Measure a spike relative to what this server did in the closed loop."""
    capacity = report.capacity(workload.name, server.name)
    if not can_be_offered(PEAK * capacity, server, workload, options, report):
        return
    seen = spike(server, workload, capacity, options.slo_ms / 1e3, max(options.warmup, 3.0))
    report.spikes.append(seen)
    say(f"{workload.name}, spike of {seen.peak:.0f}/s, {server.name}: recovery {seen.recovery} s {seen.fault or ''}")


def count_bytes(server: ServerProcess, workload: Workload, report: Report, folder: Path) -> None:
    """Count the bytes moved per request. This must come last, because a traced server is slow."""
    try:
        report.io_bytes.append(count_io_bytes(server, workload, folder))
    except NotTracedError as error:
        report.skipped.append(f"{workload.name}: {server.name}: bytes are not counted: {error}")


def start(stack: ExitStack, server: ServerProcess, checker: Checker, report: Report) -> ServerProcess:
    """Start a server while no other works, and note how long it took until it answered /ping, and a request
    correctly.
    """
    stack.enter_context(server)
    times = {"ping": server.wait_for_ping(), "answer": until_right(server, checker)}
    report.starts.setdefault(checker.workload.name, {})[server.name] = times
    say(f"{checker.workload.name}: {server.name} answers after {times['answer']:.1f} s")
    server.settle()
    return server


def until_right(server: ServerProcess, checker: Checker) -> float:
    """Return the seconds from the server's start until its first correct answer."""
    while True:
        try:
            checker.check(server.predictions, count=1, adapter=server.adapter)
            return server.age()
        except WrongAnswerError:
            if server.age() > 180:
                raise
            time.sleep(0.02)


def warm_up(server: ServerProcess, workload: Workload, connections: int, seconds: float, folder: Path) -> None:
    """Drive the server for `seconds` without measuring, and wait until it is idle."""
    wrk.drive(server.predictions, script_for(server, workload, folder), connections, seconds)
    server.rest()


@dataclass(frozen=True, slots=True)
class ClosedRun:
    """The round and the length of a run in seconds. wrk's script is written to `folder`."""

    number: int
    seconds: float
    folder: Path


def run(server: ServerProcess, cell: Cell, checker: Checker, report: Report, closed: ClosedRun) -> None:
    """Measure one run of one server in the closed loop."""
    lua = script_for(server, checker.workload, closed.folder)
    checker.check(server.predictions, adapter=server.adapter)
    before = server.usage()
    sample = wrk.drive(server.predictions, lua, cell.connections, closed.seconds)
    after = server.usage()
    server.rest()
    where = f"{cell.workload}, {cell.connections} connections, {server.name}, round {closed.number}"
    if sample.fault:
        report.faults.append(f"{where}: {sample.fault}")
    each = 1e6 / max(sample.requests, 1)
    spent, in_kernel = after.cpu_seconds - before.cpu_seconds, after.kernel_seconds - before.kernel_seconds
    held = tuple((one.name, one.memory) for one in (after.of_front, *after.of_workers))
    cell.samples.setdefault(server.name, []).append(sample)
    cell.footprints.setdefault(server.name, []).append(
        Footprint(after.front, after.workers, spent * each, in_kernel * each, held)
    )
    say(f"{where}: {sample.rate:.0f} requests/s, p50 {sample.p50:.2f} ms, p99 {sample.p99:.2f} ms {sample.fault or ''}")


def write(report: Report, out: Path) -> None:
    """Write the report as peers.json and peers.md to the folder `out`, and print it."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "peers.json").write_text(json.dumps(report.as_json(), indent=1) + "\n")
    (out / "peers.md").write_text(report.as_markdown())
    print(report.as_markdown())
    try:
        pictures = draw_closed(report.cells, out), draw(report.points, report.slo, out)
        for picture in [*itertools.chain(*pictures), *draw_spikes(report.spikes, report.slo, out)]:
            say(f"drawn: {picture}")
    except ImportError:
        say("no curves: they need matplotlib (pip install 'torchserve[bench]')")


def say(text: str) -> None:
    """Print progress to standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
