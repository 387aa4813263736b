"""Drives TorchServe and this server in turn with the same archives and requests, and reports both.

Run it as `python -m benchmarks.peers`; benchmarks/README.md says how it measures, and what it doesn't.
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
    ECHOES,
    LARGE,
    UnavailableError,
    Workload,
    digits,
    echo,
    from_folder,
    imagenet,
    sentences,
)

FAULTS = (NotServingError, WrongAnswerError, wrk.UnreadableReportError, GeneratorError, OSError)


def main(argv: Sequence[str] | None = None) -> int:
    """0: a valid report; 1: an invalid one, which says so; 2: nothing could be run; 130: interrupted."""
    options = arguments(__doc__).parse_args(argv)
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
    checker = Checker(workload)
    report.configurations[workload.name] = configuration(workload.archive)
    try:
        report.baselines[workload.name] = str(measure_baseline(workload, options.our_venv.absolute()))
    except NoBaselineError as error:
        report.skipped.append(f"{workload.name}: floor: {error}")
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
                        lua = script_for(server, workload, folder)
                        run(server, cell, checker, lua, options.seconds, report, number + 1)
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
    """A rival that doesn't start is left out, and the report says so; TorchServe and we have to."""
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
    """wrk's script of the workload's body in the server's adapter."""
    lua, adapter, files = folder / f"{server.name}.lua", server.adapter, []
    for place, body in enumerate(workload.ragged or (workload.body,)):
        files.append(folder / f"{server.name}.{place}.body")
        files[-1].write_bytes(adapter.wrap(body))
    lua.write_text(wrk.script(files, adapter.kind(workload.content_type), headers=adapter.headers))
    return lua


def offer_to(
    server: ServerProcess, workload: Workload, rate: float, options: argparse.Namespace, report: Report
) -> None:
    """One point of the open loop's curve. What a server fails at is in the table: the others go on."""
    load = OpenLoad(rate, options.seconds, options.slo_ms / 1e3, warmup=max(options.warmup, 3.0))
    point = offer(server, workload, load)
    report.points.append(point)
    say(f"{workload.name}, {rate:g}/s offered, {server.name}: {point.goodput:.0f}/s in time {point.fault or ''}")


def can_be_offered(
    rate: float, server: ServerProcess, workload: Workload, options: argparse.Namespace, report: Report
) -> bool:
    """Whether the generator can; if not the report says so."""
    if rate > options.most_offered:
        told = f"{rate:.0f}/s are more than the generator can offer ({options.most_offered:g})"
        report.skipped.append(f"{workload.name}: {server.name}: {told}")
    return rate <= options.most_offered


def spike_at(server: ServerProcess, workload: Workload, options: argparse.Namespace, report: Report) -> None:
    """A spike over what this server did in the closed loop."""
    capacity = report.capacity(workload.name, server.name)
    if not can_be_offered(PEAK * capacity, server, workload, options, report):
        return
    seen = spike(server, workload, capacity, options.slo_ms / 1e3, max(options.warmup, 3.0))
    report.spikes.append(seen)
    say(f"{workload.name}, spike of {seen.peak:.0f}/s, {server.name}: recovery {seen.recovery} s {seen.fault or ''}")


def count_bytes(server: ServerProcess, workload: Workload, report: Report, folder: Path) -> None:
    """Last, as a traced server is slow."""
    try:
        report.io_bytes.append(count_io_bytes(server, workload, folder))
    except NotTracedError as error:
        report.skipped.append(f"{workload.name}: {server.name}: bytes are not counted: {error}")


def start(stack: ExitStack, server: ServerProcess, checker: Checker, report: Report) -> ServerProcess:
    """Starts one server while no other works, and notes how long it took to be there and to answer rightly."""
    stack.enter_context(server)
    times = {"ping": server.wait_for_ping(), "answer": until_right(server, checker)}
    report.starts.setdefault(checker.workload.name, {})[server.name] = times
    say(f"{checker.workload.name}: {server.name} answers after {times['answer']:.1f} s")
    return server


def until_right(server: ServerProcess, checker: Checker) -> float:
    """Seconds from the start until the first right answer."""
    while True:
        try:
            checker.check(server.predictions, count=1, adapter=server.adapter)
            return server.age()
        except WrongAnswerError:
            if server.age() > 180:
                raise
            time.sleep(0.02)


def warm_up(server: ServerProcess, workload: Workload, connections: int, seconds: float, folder: Path) -> None:
    wrk.drive(server.predictions, script_for(server, workload, folder), connections, seconds)
    server.rest()


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
    checker.check(server.predictions, adapter=server.adapter)
    before = server.usage()
    sample = wrk.drive(server.predictions, lua, cell.connections, seconds)
    after = server.usage()
    server.rest()
    where = f"{cell.workload}, {cell.connections} connections, {server.name}, round {number}"
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
    """The report as peers.json and peers.md in the folder `out`, and on standard output."""
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
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
