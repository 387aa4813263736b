"""Compare this server by gRPC with TorchServe's gRPC and with Triton's: `python -m benchmarks.grpc`.

All servers run at the same time, with the same handler, and are driven in turn, one after the other, by the same load
generator: small calls by h2load, where it is installed, and all else by ours. Each goal is held against the ratios
within a round. benchmarks/README.md says what is measured. Exit status: 0 if each goal is met, 1 if one is not or was
not measured, 2 if nothing could be measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from pathlib import Path

from torchserve.cli.loadgen.generator import GeneratorError, drive
from torchserve.cli.reference_answers import asker_of
from torchserve.core.container_limits import available_cores

from . import h2load, oracle
from .call_goals import Goal, Results, Sample, goals, table
from .calls import BODY, Call, TritonByRpc, echoes, images, shared_images, streams
from .check import WrongAnswerError
from .environment import configuration
from .front_door import say
from .h2load import LoadRun
from .io_bytes import NotTracedError, count_moved
from .process import NotServingError, ServerProcess
from .rival import find_rival
from .servers import PLAIN, Server
from .workload import Workload, calls

_CELLS = ((1, 1), (16, 1), (16, 8), (64, 1), (64, 8))  # calls in flight, channels
_WARM = 2.5  # seconds for each way of asking a server, before anything is measured


Drive = Callable[[Call, tuple[int, int], float], LoadRun]


def by_ours(call: Call, cell: tuple[int, int], seconds: float) -> LoadRun:
    """Return the outcome of a run of our own generator, which checks each answer."""
    outcome = drive(call.scenario(*cell, seconds))
    tally = outcome.tally
    p50, p99 = (tally.latency.quantile(share) or 0.0 for share in (0.5, 0.99))
    faults = tuple(outcome.faults()) or (() if tally.right else ("nothing was answered",))
    return LoadRun(tally.right, outcome.rate, p50, p99, tally.busy, faults, tally.first.quantile(0.5))


def run_once(
    found: Results, server: ServerProcess, call: Call, cell: tuple[int, int], seconds: float, generator: Drive = by_ours
) -> None:
    """Add one run to `found`. A run with a wrong or failed call is a fault, and no sample."""
    flight, channels = cell
    before = server.usage().cpu_seconds
    run = generator(call, cell, seconds)
    spent = server.usage().cpu_seconds - before
    if run.faults:
        what = f"{server.name}, {call.protocol}, {flight} in flight on {channels}"
        found.faults.append(f"{what}: {'; '.join(run.faults)}")
        return
    first = None if run.first is None else run.first * 1e3
    own = run.busy / run.right * 1e6
    sample = Sample(run.rate, run.p50 * 1e3, run.p99 * 1e3, spent / run.right * 1e6, first, own)
    found.samples.setdefault((flight, channels, call.server, call.protocol), []).append(sample)


Rows = Sequence[tuple[ServerProcess, Call]]


def rounds(
    rows: Rows, cells: Sequence[tuple[int, int]], options: argparse.Namespace, generator: Drive = by_ours
) -> Results:
    """Drive all rows in turn, in each cell, `options.rounds` times."""
    found = Results()
    for server, call in rows:
        drive(call.scenario(16, 1, _WARM))
        server.rest(5.0)
    for flight, channels in cells:
        for _ in range(options.rounds):
            for server, call in rows:
                run_once(found, server, call, (flight, channels), options.seconds, generator)
    return found


def started(stack: ExitStack, workload: Workload, options: argparse.Namespace) -> list[ServerProcess]:
    """Start the servers, ours first. A rival that can't be had or does not start is left out, which the report says."""
    ours = options.our_venv.absolute()
    made: list[ServerProcess] = [stack.enter_context(Server("ours", ours, workload, PLAIN))]
    made[0].wait_for_ping()
    for name in options.rivals:
        try:
            if name == "torchserve":
                server: ServerProcess = Server(name, oracle.find(options.torchserve_venv), workload, PLAIN)
            else:
                server = TritonByRpc(find_rival("triton"), workload, ours)
            stack.enter_context(server)
            server.wait_for_ping(60)
        except (oracle.NoOracleError, NotServingError) as error:
            print(f"- {name} is left out: {error}")
        else:
            made.append(server)
    for server in made:
        _await_model(server)
    return made


def _await_model(server: ServerProcess, seconds: float = 60.0) -> None:
    """Wait until the server's model answers: /ping is answered before that."""
    deadline = time.monotonic() + seconds
    call = echoes(server)[0]
    while time.monotonic() < deadline:
        with suppress(GeneratorError):
            if drive(call.scenario(1, 1, 0.2)).tally.right:
                return
        time.sleep(0.2)
    raise NotServingError(f"{server.name}'s model does not answer: {server.tail()}")


def measure(servers: Sequence[ServerProcess], options: argparse.Namespace, folder: Path) -> list[Goal]:
    """Measure all parts, print their tables and return the goals."""
    found: dict[str, Results] = {}
    with ExitStack() as stack:
        rows = {
            "echo": [(server, call) for server in servers for call in echoes(server)],
            "image": [(server, call) for server in servers if server.name != "torchserve" for call in images(server)],
            "stream": [(server, call) for server in servers if server.name != "triton" for call in streams(server)],
        }
        for server in servers:
            if server.name != "torchserve" and "image" in options.parts:
                try:
                    rows["image"].append((server, stack.enter_context(shared_images(server))))
                except WrongAnswerError as error:
                    print(f"- {error}")
        cells = {"echo": _CELLS, "image": ((16, 1),), "stream": ((1, 1), (16, 1))}
        for part in options.parts:
            say(f"{part}: {len(rows[part]) * len(cells[part]) * options.rounds} runs of {options.seconds:g} s")
            light = part == "echo" and options.generator == "h2load"
            found[part] = rounds(rows[part], cells[part], options, h2load.drive if light else by_ours)
            print(f"\n## {_TITLES[part]}\n\n{table(found[part], stream=part == 'stream')}", flush=True)
            for fault in found[part].faults:
                print(f"- INVALID: {fault}")
        if "image" in options.parts:
            _print_moved(rows["image"], folder)
    return goals(found)


_TITLES = {
    "echo": f"{len(BODY)} bytes that come back",
    "image": "An image of 602 KiB (FP32, 1x3x224x224), whose three means come back",
    "stream": "The first of eight pieces",
}


def _print_moved(rows: Rows, folder: Path) -> None:
    """Print the bytes that an image's call moves between the server's processes and the kernel."""
    print("\n| server | by | bytes moved through the kernel for a call | times the image |\n|---|---|---:|---:|")
    for server, call in rows:
        scenario = call.scenario(1, 1, 1.0)
        size = len(call.spoken.payloads[0].body)
        try:
            with closing(asker_of(scenario)) as asker:
                moved = count_moved(server, partial(asker.ask, scenario.payloads[0]), folder)
        except (NotTracedError, WrongAnswerError) as error:
            print(f"| {call.server} | {call.protocol} | not counted: {error} | |")
        else:
            print(f"| {call.server} | {call.protocol} | {moved:,.0f} | {moved / size:.2f} |", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    options = _parse(argv)
    try:
        with tempfile.TemporaryDirectory(prefix="calls-") as name, ExitStack() as stack:
            folder = Path(name)
            workload = calls(options.our_venv.absolute() / "bin" / "torch-model-archiver", folder)
            print(f"# gRPC\n\n{available_cores():g} cores; {options.rounds} rounds of {options.seconds:g} s in turn;")
            print(f"small calls by {'h2load' if options.generator == 'h2load' else 'torchserve bench'};")
            print(f"{configuration(workload.archive)}\n")
            servers = started(stack, workload, options)
            found = measure(servers, options, folder)
    except (NotServingError, GeneratorError, OSError) as fault:
        say(f"INVALID: {fault}")
        return 2
    print("\n## Goals\n\n| goal | figures | met |\n|---|---|---|")
    for goal in found:
        print(goal)
    return 0 if all(goal.met for goal in found) else 1


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grpc", description=__doc__)
    parser.add_argument("--our-venv", type=Path, default=Path(sys.prefix), help="environment of this server")
    parser.add_argument("--torchserve-venv", type=Path, help="environment of TorchServe 0.12; made where there is none")
    parser.add_argument("--rivals", nargs="*", choices=("torchserve", "triton"), default=["torchserve", "triton"])
    parser.add_argument("--parts", nargs="+", choices=tuple(_TITLES), default=list(_TITLES))
    parser.add_argument(
        "--generator", choices=("h2load", "ours"), default="h2load" if h2load.there() else "ours", help="of small calls"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one run (default 1.5)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
