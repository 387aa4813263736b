"""Measure what the death of a worker costs with a warm spare and without: `python -m benchmarks.warm_spare`.

A model takes two seconds to load, and has one worker. That is killed by SIGKILL, again and again; the figure is the
time from there to the next answer, by a client that asks until it has one.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import statistics
import tempfile
import time
from pathlib import Path

import click

from .own_server import OwnServer, ask

_HANDLER = """
import os
import time

time.sleep(2.0)

def handle(data, context):
    return data and [str(os.getpid())] * len(data)
"""
_YAML = "minWorkers: 1\nmaxWorkers: 1\n"
_PATIENCE = 60.0  # seconds in which a killed worker is replaced


def _pid(server: OwnServer) -> int:
    """Return the pid of the worker that answers; 0 if none does."""
    try:
        return int(ask(http.client.HTTPConnection("127.0.0.1", server.port), "/predictions/m") or 0)
    except (OSError, http.client.HTTPException):
        return 0


def _whole(server: OwnServer, *, spare: bool) -> bool:
    """Return whether all workers have loaded, the spare one included."""
    connection = http.client.HTTPConnection("127.0.0.1", server.management)
    connection.request("GET", "/models/m")
    (described,) = json.loads(connection.getresponse().read())
    ready = all(worker["status"] == "READY" for worker in described["workers"])
    return ready and (not spare or described.get("warmSpare", {}).get("status") == "SPARE")


def _outages(folder: Path, rounds: int, *, spare: bool) -> list[float]:
    """Return the milliseconds of each outage."""
    server = OwnServer(folder, {"m": _HANDLER}, yaml=_YAML + ("warmSpare: true\n" if spare else ""))
    found: list[float] = []
    try:
        server.serve(["m"])
        for _ in range(rounds):
            deadline = time.monotonic() + _PATIENCE
            while not _whole(server, spare=spare):
                assert time.monotonic() < deadline, "the workers do not load"
                time.sleep(0.1)
            killed = _pid(server)
            os.kill(killed, signal.SIGKILL)
            began = time.perf_counter()
            while _pid(server) in {0, killed}:
                assert time.monotonic() < deadline, "nobody answers"
            found.append((time.perf_counter() - began) * 1e3)
    finally:
        server.stop()
    return found


@click.command(help=__doc__)
@click.option("--rounds", default=5, show_default=True, help="Workers that are killed in each case.")
def main(rounds: int) -> None:
    click.echo("| | ms until the next answer |\n|---|---:|")
    with tempfile.TemporaryDirectory(prefix="warm-spare-") as folder:
        for name, spare in (("without", False), ("with a warm spare", True)):
            found = _outages(Path(folder, str(spare)), rounds, spare=spare)
            click.echo(f"| {name} | {statistics.median(found):.0f} ({min(found):.0f} to {max(found):.0f}) |")


if __name__ == "__main__":
    main()
