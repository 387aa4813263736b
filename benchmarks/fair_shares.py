"""Measure what a noisy client costs a quiet one: `python -m benchmarks.fair_shares`.

A model takes 10 ms and 2.5 ms for each request of a batch, of which it takes up to four: 200 requests a second. The
quiet client asks for a tenth of that, the noisy one for three times all of it. The quiet one is measured alone, then
beside the noisy one with a weight each (`client_limits`), then without weights, all at the same arrivals.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
from torchserve.cli.loadgen.generator import drive
from torchserve.cli.loadgen.payload import Payload
from torchserve.cli.loadgen.scenario import Open, Scenario
from torchserve.core.config.address import parse_address

from .own_server import BODY, OwnServer

_CAPACITY = 200.0
_HANDLER = """
import time

def handle(data, context):
    if data:
        time.sleep(0.010 + 0.0025 * len(data))
    return data and [bytes(row["body"]) for row in data]
"""
_YAML = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\nmaxBatchDelay: 20\n"
_SHARES = 'fair_share_header=x-client\nclient_limits={"default": {"weight": 1}}'


class Seen(NamedTuple):
    """The answers that a client saw: the 99th percentile in ms, the share that were refusals, and answers a second."""

    p99: float
    refused: float
    rate: float


@contextmanager
def served(properties: str) -> Iterator[OwnServer]:
    """Start a server with these properties, and end it."""
    with tempfile.TemporaryDirectory(prefix="shares-") as folder:
        server = OwnServer(Path(folder), {"m": _HANDLER}, yaml=_YAML, properties=properties)
        try:
            server.serve(["m"])
            yield server
        finally:
            server.stop()


def offered(port: int, client: str, rate: float, seconds: float) -> Seen:
    """Offer Poisson arrivals of one client."""
    outcome = drive(Scenario(
        parse_address(f"http://127.0.0.1:{port}"), "/predictions/m",
        (Payload("body", BODY, "application/octet-stream"),), Open(rate), seconds=seconds,
        headers={"x-client": client}, most_warmup=2.0, most_late=1.0,
    ))  # fmt: skip
    p99 = outcome.tally.latency.quantile(0.99)
    total = outcome.tally.right + outcome.refused
    return Seen((p99 or 0.0) * 1e3, outcome.refused / max(1, total), outcome.rate)


def both(port: int, seconds: float) -> tuple[Seen, Seen]:
    """Offer what the quiet and the noisy client ask for, at a time."""
    with ThreadPoolExecutor(1) as pool:
        noisy = pool.submit(offered, port, "noisy", 3 * _CAPACITY, seconds + 4.0)
        return offered(port, "quiet", _CAPACITY / 10, seconds), noisy.result()


@click.command(help=__doc__)
@click.option("--seconds", default=15.0, show_default=True, help="Seconds of each run.")
@click.option("--rounds", default=3, show_default=True, help="The medians of so many rounds count.")
def main(seconds: float, rounds: int) -> None:
    alone: list[Seen] = []
    shared: list[tuple[Seen, Seen]] = []
    queued: list[tuple[Seen, Seen]] = []
    for _ in range(rounds):
        with served(_SHARES) as server:
            alone.append(offered(server.port, "quiet", _CAPACITY / 10, seconds))
            shared.append(both(server.port, seconds))
        with served("") as server:
            queued.append(both(server.port, seconds))
    click.echo(
        "| | quiet p99, ms | beside alone | quiet refused | noisy refused | answers/s |\n|---|---:|---:|---:|---:|---:|"
    )
    base = statistics.median([seen.p99 for seen in alone])
    click.echo(f"| alone | {base:.0f} | 1.00 | {_share([seen.refused for seen in alone])} | | |")
    for name, pairs in (("beside a noisy client, with weights", shared), ("… first come, first served", queued)):
        p99 = statistics.median([quiet.p99 for quiet, _ in pairs])
        refused = [_share([pair[place].refused for pair in pairs]) for place in (0, 1)]
        rate = statistics.median([quiet.rate + noisy.rate for quiet, noisy in pairs])
        click.echo(f"| {name} | {p99:.0f} | {p99 / base:.2f} | {refused[0]} | {refused[1]} | {rate:.0f} |")
    if any(quiet.refused for quiet, _ in shared):
        click.echo("The quiet client was refused in spite of its share.")
        sys.exit(1)


def _share(values: list[float]) -> str:
    return f"{statistics.median(values):.0%}"


if __name__ == "__main__":
    main()
