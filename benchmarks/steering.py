"""Measure what a cache saves, and what steering traffic costs: `python -m benchmarks.steering`.

A model takes about a millisecond of a core for each request. With a cache it is asked the same (hit), the same with
`Cache-Control: no-cache` (miss: computed and kept each time), and the same while answers are good for a millisecond
only (shared: many wait for one that computes). Then a second version is registered, and the traffic of requests that
name none is left alone, shared by weights, by a sticky header, and copied to a shadow.
"""

from __future__ import annotations

import http.client
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
from torchserve.cli.loadgen.generator import drive
from torchserve.cli.loadgen.payload import Payload
from torchserve.cli.loadgen.scenario import Closed, Scenario
from torchserve.core.config.address import parse_address

from .own_server import BODY, OwnServer, pack_model

_HANDLER = """
import hashlib

def handle(data, context):
    return data and [hashlib.pbkdf2_hmac("sha256", bytes(row["body"]), b"", 1500) for row in data]
"""
_YAML = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nmaxBatchDelay: 5\n"
_CACHES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("no cache", "", {}),
    ("hit", "cache: {ttl: 600}\n", {}),
    ("miss", "cache: {ttl: 600}\n", {"cache-control": "no-cache"}),
    ("shared", "cache: {ttl: 0.001}\n", {}),
)
_TRAFFIC: tuple[tuple[str, str], ...] = (
    ("none", ""),
    ("weights", "1.0=90&2.0=10"),
    ("weights, sticky", "1.0=90&2.0=10&sticky=x-user"),
    ("shadow, 10 %", "shadow=2.0&shadow_percent=10"),
)


class Seen(NamedTuple):
    """The answers a second, the median and 99th percentile in ms, and processor time in us for each answer."""

    rate: float
    p50: float
    p99: float
    processor: float


@contextmanager
def served(yaml: str) -> Iterator[OwnServer]:
    """Start a server of the model `m` with this yaml, and end it."""
    with tempfile.TemporaryDirectory(prefix="steering-") as folder:
        server = OwnServer(Path(folder), {"m": _HANDLER}, yaml=_YAML + yaml)
        try:
            server.serve(["m"])
            pack_model(Path(folder, "store", "m2.mar"), "m", _HANDLER, _YAML, version="2.0")
            yield server
        finally:
            server.stop()


def managed(server: OwnServer, method: str, path: str) -> None:
    """Ask the management API. Raises AssertionError unless it does it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.management)
    connection.request(method, path)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    assert answer.status == 200, text


def measured(server: OwnServer, headers: dict[str, str], seconds: float) -> Seen:
    """Ask in a closed loop of 16 connections."""
    before = server.processor()
    outcome = drive(Scenario(
        parse_address(f"http://127.0.0.1:{server.port}"), "/predictions/m",
        (Payload("body", BODY, "application/octet-stream"),), Closed(16), seconds=seconds, headers=headers,
        most_warmup=1.0,
    ))  # fmt: skip
    used = server.processor() - before
    latency = outcome.tally.latency
    answers = outcome.rate * (outcome.seconds + outcome.warmup)  # the processor time is the warm-up's, too
    p50, p99 = latency.quantile(0.5) or 0.0, latency.quantile(0.99) or 0.0
    return Seen(outcome.rate, p50 * 1e3, p99 * 1e3, used / max(1.0, answers) * 1e6)


def table(head: str, rows: dict[str, list[Seen]]) -> str:
    """Return a table of the medians, the first row being what the others are beside."""
    lines = [
        f"| {head} | answers/s | p50, ms | p99, ms | processor, us | beside the first |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    first = 0.0
    for name, seen in rows.items():
        middle = Seen(*(statistics.median(column) for column in zip(*seen, strict=True)))
        first = first or middle.rate
        lines.append(
            f"| {name} | {middle.rate:.0f} | {middle.p50:.2f} | {middle.p99:.2f} | {middle.processor:.0f} |"
            f" {middle.rate / first:.2f} |"
        )
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--seconds", default=5.0, show_default=True, help="Seconds of each run.")
@click.option("--rounds", default=3, show_default=True, help="The medians of so many rounds count.")
def main(seconds: float, rounds: int) -> None:
    caches: dict[str, list[Seen]] = {name: [] for name, _, _ in _CACHES}
    traffic: dict[str, list[Seen]] = {name: [] for name, _ in _TRAFFIC}
    for _ in range(rounds):
        for name, yaml, headers in _CACHES:
            with served(yaml) as server:
                caches[name].append(measured(server, headers, seconds))
        with served("") as server:
            managed(server, "POST", "/models?url=m2.mar&initial_workers=1&synchronous=true")
            for name, query in _TRAFFIC:
                managed(server, "PUT" if query else "DELETE", f"/models/m/traffic?{query}")
                traffic[name].append(measured(server, {"x-user": "one"}, seconds))
    click.echo(table("cache", caches) + "\n\n" + table("traffic", traffic))


if __name__ == "__main__":
    main()
