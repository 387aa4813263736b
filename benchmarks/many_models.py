"""Measure what a request costs among many models: `python -m benchmarks.many_models`.

One server has a single model. The other has 1,000 registered, of which 100 have a worker and are asked all the time,
and 10,000 connections, most of which are idle. As many connections ask each server in turn, in the one each its own
model. What counts is the processor time of the front process for one request, which other programs on the machine
change little; that of all processes is beside it.
"""

from __future__ import annotations

import asyncio
import http.client
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click
import psutil

from .own_server import BODY, OwnServer

_GOAL = 1.1  # times what a request to the server of one model costs
_PATIENCE = 60.0  # seconds in which every connection has had an answer
_ECHO = """
def handle(data, context):
    return data and [bytes(row["body"]) for row in data]
"""


class Cost(NamedTuple):
    """The microseconds of processor time that one request takes: of the front process, and of all."""

    front: float
    all: float


class _Connection(asyncio.Protocol):
    """A connection that sends a request, and with `again` the next one as soon as that is answered."""

    def __init__(self, path: str, clients: _Clients) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n"
        self._request = f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY
        self._clients = clients
        self._transport: asyncio.Transport | None = None
        self._come = 0  # bytes of the answer
        self._length = 0  # of the answer: all have the same

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def ask(self) -> None:
        """Send a request."""
        assert self._transport is not None
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._length:
            assert data.startswith(b"HTTP/1.1 200 "), data
            self._length = data.index(b"\r\n\r\n") + 4 + len(BODY)
        self._come += len(data)
        if self._come >= self._length:
            self._come -= self._length
            self._clients.answered(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._clients.lost += 1


class _Clients:
    """The connections to one server: `busy` ones, which ask for as long as `asking`, and others that are idle."""

    def __init__(self) -> None:
        self.busy: list[_Connection] = []
        self.idle: list[_Connection] = []
        self.count = self.lost = 0
        self.asking = False

    def answered(self, connection: _Connection) -> None:
        """Count an answer, and ask again if it is time for that."""
        self.count += 1
        if self.asking:
            connection.ask()

    async def connect(self, port: int, busy: Sequence[str], idle: Sequence[str]) -> None:
        """Open one connection for each path."""
        loop = asyncio.get_running_loop()
        for paths, made in ((busy, self.busy), (idle, self.idle)):
            for path in paths:
                _, connection = await loop.create_connection(partial(_Connection, path, self), "127.0.0.1", port)
                made.append(connection)

    async def touch(self) -> None:
        """Have each connection ask once, a few at a time, so that the server does not end it as an idle one."""
        every = self.busy + self.idle
        for at in range(0, len(every), 50):
            wanted = self.count + len(every[at : at + 50])
            for connection in every[at : at + 50]:
                connection.ask()
            async with asyncio.timeout(_PATIENCE):
                while self.count < wanted:
                    await asyncio.sleep(0.001)
        assert not self.lost, f"{self.lost} connections were ended"

    async def drive(self, server: OwnServer, seconds: float) -> Cost:
        """Have the busy connections ask for so long, and return what a request costs the server."""
        self.asking = True
        for connection in self.busy:
            connection.ask()
        await asyncio.sleep(seconds / 10)
        front, before, count = _front(server), server.processor(), self.count
        await asyncio.sleep(seconds)
        front, whole, count = _front(server) - front, server.processor() - before, self.count - count
        self.asking = False
        await asyncio.sleep(0.5)
        assert not self.lost, f"{self.lost} connections were ended"
        return Cost(front / count * 1e6, whole / count * 1e6)


def _front(server: OwnServer) -> float:
    times = psutil.Process(server.process.pid).cpu_times()
    return times.user + times.system


def _register(server: OwnServer, name: str, workers: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.management, timeout=_PATIENCE)
    connection.request("POST", f"/models?url=m.mar&model_name={name}&initial_workers={workers}&synchronous=true")
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    connection.close()


async def _compare(
    one: OwnServer, many: OwnServer, busy: int, connections: int, seconds: float, rounds: int
) -> list[tuple[Cost, Cost]]:
    alone, among = _Clients(), _Clients()
    await alone.connect(one.port, ["/predictions/m"] * busy, ())
    names = [f"/predictions/m{at}" for at in range(busy)]
    await among.connect(many.port, names, [names[at % busy] for at in range(connections - busy)])
    found: list[tuple[Cost, Cost]] = []
    for _ in range(rounds):
        await alone.touch()
        await among.touch()
        found.append((await alone.drive(one, seconds), await among.drive(many, seconds)))
    return found


@click.command(help=__doc__)
@click.option("--models", default=1000, show_default=True, help="Models that are registered.")
@click.option("--busy", default=100, show_default=True, help="Of these, models that have a worker and are asked.")
@click.option("--connections", default=10_000, show_default=True, help="Connections, the busy ones included.")
@click.option("--seconds", default=4.0, show_default=True, help="Seconds of each run.")
@click.option("--rounds", default=5, show_default=True, help="The medians of so many rounds count.")
def main(models: int, busy: int, connections: int, seconds: float, rounds: int) -> None:
    with tempfile.TemporaryDirectory(prefix="many-models-") as folder, ExitStack() as running:
        servers = [OwnServer(Path(folder, name), {"m": _ECHO}) for name in ("one", "many")]
        for server in servers:
            running.callback(server.stop)
            server.serve(["m"])
        began = time.monotonic()
        for at in range(models - 1):
            _register(servers[1], f"m{at}", 1 if at < busy else 0)
        click.echo(f"{models - 1} models were registered in {time.monotonic() - began:.0f} s")
        found = asyncio.run(_compare(servers[0], servers[1], busy, connections, seconds, rounds))
    click.echo("| processor time of a request, us | one model | many | ratio (range) |\n|---|---:|---:|---:|")
    for name, place in (("front", 0), ("all processes", 1)):
        ones, those = [pair[0][place] for pair in found], [pair[1][place] for pair in found]
        ratios = [b / a for a, b in zip(ones, those, strict=True)]
        click.echo(
            f"| {name} | {statistics.median(ones):.0f} | {statistics.median(those):.0f} |"
            f" {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |"
        )
    ratio = statistics.median([many.front / one.front for one, many in found])
    click.echo(f"times the front's cost for one model: {ratio:.2f}, goal {_GOAL}")
    sys.exit(0 if ratio <= _GOAL else 1)


if __name__ == "__main__":
    main()
