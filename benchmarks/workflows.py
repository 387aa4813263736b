"""Measure what a step from one model to the next costs: `python -m benchmarks.workflows`.

Each model echoes 1 KB. A step within a workflow is beside the same step as users of TorchServe make it: a handler that
asks a second server by HTTP, over a connection that it keeps. The figures are microseconds, by the clock and of the
processor time of all processes of both servers, one request at a time; what one plain prediction costs is taken off.
"""

from __future__ import annotations

import http.client
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import click

from .own_server import BODY, OwnServer, ask

_GOAL = 3.0  # times less than by HTTP
_PATHS = ("/predictions/echo", "/wfpredict/line", "/predictions/relay")
_ECHO = """
def handle(data, context):
    return data and [bytes(row["body"]) for row in data]
"""
_RELAY = """
import http.client

HEADERS = {{"content-type": "application/octet-stream"}}
connection = http.client.HTTPConnection("127.0.0.1", {port})

def handle(data, context):
    answers = []
    for row in data or ():
        connection.request("POST", "/predictions/echo", bytes(row["body"]), HEADERS)
        answers.append(connection.getresponse().read())
    return answers
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """The microseconds of one request."""

    clock: float
    processor: float

    def per_step(self, plain: Cost, steps: int) -> Cost:
        """Return what each of `steps` costs, besides a plain prediction."""
        return Cost((self.clock - plain.clock) / steps, (self.processor - plain.processor) / steps)


def _measure(servers: Sequence[OwnServer], path: str, requests: int) -> Cost:
    """Return the median by the clock, and the mean of processor time, of requests to the first server."""
    connection = http.client.HTTPConnection("127.0.0.1", servers[0].port)
    for _ in range(requests // 10):
        assert ask(connection, path) == BODY, f"{path} does not echo"
    before, took = sum(each.processor() for each in servers), []
    for _ in range(requests):
        started = time.perf_counter()
        ask(connection, path)
        took.append(time.perf_counter() - started)
    used = sum(each.processor() for each in servers) - before
    connection.close()
    return Cost(statistics.median(took) * 1e6, used / requests * 1e6)


@click.command()
@click.option("--requests", default=2000, help="Requests of each kind and round.")
@click.option("--rounds", default=3, help="The median of so many rounds counts.")
@click.option("--steps", default=4, help="Steps of the workflow behind its first model.")
def main(requests: int, rounds: int, steps: int) -> None:
    """Measure a step within a workflow, and the same by HTTP. Exit status 1 if the goal is missed."""
    nodes = [f"n{at}" for at in range(steps + 1)]
    models = "\n".join(f"  {node}: {{url: echo.mar, max-batch-delay: 0}}" for node in nodes)
    edges = "\n".join(f"  {node}: [{after}]" for node, after in pairwise(nodes))
    spec = f"models:\n{models}\ndag:\n{edges}\n"
    with tempfile.TemporaryDirectory(prefix="workflows-") as scratch:
        servers: list[OwnServer] = []
        try:
            servers.append(OwnServer(Path(scratch, "b"), {"echo": _ECHO}))
            servers[0].serve(["echo"])
            relay = _RELAY.format(port=servers[0].port)
            servers.insert(0, OwnServer(Path(scratch, "a"), {"echo": _ECHO, "relay": relay}, {"line": spec}))
            servers[0].serve(["echo", "relay"], ["line"])
            found = [
                [
                    _measure(servers, path, requests)
                    for path in ("/predictions/echo", "/wfpredict/line", "/predictions/relay")
                ]
                for _ in range(rounds)
            ]
        finally:
            for each in servers:
                each.stop()
    inside = [row[1].per_step(row[0], steps) for row in found]
    by_http = [row[2].per_step(row[0], 1) for row in found]
    click.echo("| a step, in microseconds | by the clock | of the processor |\n|---|---|---|")
    for name, costs in (("within a workflow", inside), ("by HTTP to a second server", by_http)):
        clock, processor = (
            statistics.median([getattr(each, kind) for each in costs]) for kind in ("clock", "processor")
        )
        click.echo(f"| {name} | {clock:.0f} | {processor:.0f} |")
    ratio = statistics.median([b.processor / a.processor for a, b in zip(inside, by_http, strict=True)])
    slower = statistics.median([b.clock / a.clock for a, b in zip(inside, by_http, strict=True)])
    click.echo(f"| times less | {slower:.1f} | {ratio:.1f} (goal: {_GOAL:g}) |")
    sys.exit(0 if ratio >= _GOAL else 1)


if __name__ == "__main__":
    main()
