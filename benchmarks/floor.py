"""Measure how far this server is from what Python can do at best: `python -m benchmarks.floor`.

Three servers echo 19 bytes, and wrk asks them in turn: ours (the workload `echo`), and two that do no more than they
must (benchmarks.bare_front): one answers by itself, the other has another process echo what a turn of its loop has
read. What counts is the processor time of the front process for a request, in the same round; other programs change it
little.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import psutil

from . import wrk
from .front_door import serving
from .process import free_ports
from .workload import echo

CONNECTIONS = (1, 16, 64)
OURS, ALONE, WORKER = "ours", "bare, alone", "bare, with a worker"


@contextmanager
def bare(*options: str) -> Iterator[tuple[psutil.Process, str]]:
    """Run a bare front, and yield its process and the URL to ask."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "benchmarks.bare_front", str(port), *options]
    with subprocess.Popen(command) as started:
        try:
            yield psutil.Process(started.pid), f"http://127.0.0.1:{port}/predictions/echo"
        finally:
            started.terminate()


def cost(front: psutil.Process, url: str, lua: Path, connections: int, seconds: float) -> tuple[float, float]:
    """Return the microseconds of the front's processor time for a request, and the requests per second."""
    before = front.cpu_times()
    sample = wrk.drive(url, lua, connections, seconds)
    after = front.cpu_times()
    assert not sample.fault, sample.fault
    return (after.user + after.system - before.user - before.system) * 1e6 / sample.requests, sample.rate


@click.command(help=__doc__)
@click.option("--rounds", default=3, help="The medians of so many rounds count.", show_default=True)
@click.option("--seconds", default=3.0, help="Seconds of each run.", show_default=True)
def main(rounds: int, seconds: float) -> None:
    with tempfile.TemporaryDirectory(prefix="floor-") as name, ExitStack() as stack:
        folder, prefix = Path(name), Path(sys.prefix)
        workload = echo(prefix / "bin" / "torch-model-archiver", folder)
        (folder / "body").write_bytes(workload.body)
        lua = folder / "post.lua"
        lua.write_text(wrk.script(folder / "body", workload.content_type))
        server = stack.enter_context(serving(workload, prefix))
        servers = {
            OURS: (server.front(), server.predictions),
            ALONE: stack.enter_context(bare()),
            WORKER: stack.enter_context(bare("--worker")),
        }
        click.echo("| connections | server | front, us a request | times the bare one with a worker | requests/s |")
        click.echo("|---:|---|---:|---:|---:|")
        for connections in CONNECTIONS:
            runs: dict[str, list[tuple[float, float]]] = {each: [] for each in servers}
            for number in range(rounds + 1):
                for each, (front, url) in servers.items():
                    run = cost(front, url, lua, connections, seconds if number else 1.0)
                    if number:  # the first warms up
                        runs[each].append(run)
            for each, made in runs.items():
                costs, rates = zip(*made, strict=True)
                ratios = [mine / floor for (mine, _), (floor, _) in zip(made, runs[WORKER], strict=True)]
                told = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                click.echo(
                    f"| {connections} | {each} | {statistics.median(costs):.1f} | {told} |"
                    f" {statistics.median(rates):.0f} |"
                )


if __name__ == "__main__":
    main()
