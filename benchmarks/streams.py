"""Measure what a chunk of a streamed answer costs: `python -m benchmarks.streams`.

wrk asks for streamed answers on 64 connections, of handlers that send their pieces by
`send_intermediate_predict_response` as in TorchServe: one batch of all requests at a time, each request alone, and all
side by side in an asynchronous handler. Beside them stands a server that does no more than it must
(benchmarks.bare_streams). What counts is the processor time of front and worker for a chunk.
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
from .own_server import OwnServer
from .process import free_ports

_BATCH = """
from ts.handler_utils.utils import send_intermediate_predict_response

def handle(data, context):
    for _ in range({pieces} if data else 0):
        send_intermediate_predict_response([PIECE] * len(data), context.request_ids, "", 200, context)
    return data and [b""] * len(data)
"""
_CONCURRENT = """
import asyncio
from ts.handler_utils.utils import send_intermediate_predict_response

async def handle(data, context):
    for _ in range({pieces} if data else 0):
        send_intermediate_predict_response([PIECE] * len(data), context.request_ids, "", 200, context)
        await asyncio.sleep(0)
    return data and [b""] * len(data)
"""
_HANDLERS = {  # by the model's name: its handler, and its model-config.yaml
    "batch": (_BATCH, "batchSize: {streams}\nmaxBatchDelay: 20\nmaxWorkers: 1\n"),
    "alone": (_BATCH, "batchSize: 1\nmaxWorkers: 1\n"),
    "concurrent": (_CONCURRENT, "asyncCommunication: true\nmaxWorkers: 1\n"),
}


@contextmanager
def ours(name: str, folder: Path, streams: int, pieces: int, size: int) -> Iterator[tuple[list[psutil.Process], str]]:
    """Run this server with one of the handlers, and yield its processes, the front's first, and the URL to ask."""
    handler, yaml = _HANDLERS[name]
    text = f"PIECE = b'x' * {size}\n" + handler.format(pieces=pieces)
    server = OwnServer(folder, {name: text}, yaml=yaml.format(streams=streams))
    try:
        server.serve([name])
        front = psutil.Process(server.process.pid)
        yield [front, *front.children(recursive=True)], f"http://127.0.0.1:{server.port}/predictions/{name}"
    finally:
        server.stop()


@contextmanager
def bare(pieces: int, size: int) -> Iterator[tuple[list[psutil.Process], str]]:
    """Run the bare server, and yield its processes, the front's first, and the URL to ask."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "benchmarks.bare_streams", *map(str, (port, pieces, size))]
    with subprocess.Popen(command) as started:
        try:
            front = psutil.Process(started.pid)
            while not front.net_connections(kind="tcp"):
                assert started.poll() is None
            yield [front, *front.children()], f"http://127.0.0.1:{port}/"
        finally:
            started.terminate()


def _spent(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system


@click.command(help=__doc__)
@click.option("--streams", default=64, help="Connections, each with one streamed answer at a time.", show_default=True)
@click.option("--pieces", default=100, help="Chunks of an answer.", show_default=True)
@click.option("--size", default=16, help="Bytes of a chunk.", show_default=True)
@click.option("--rounds", default=3, help="The medians of so many rounds count.", show_default=True)
@click.option("--seconds", default=2.0, help="Seconds of each run.", show_default=True)
@click.option("--only", multiple=True, help="Measure these handlers only.")
def main(streams: int, pieces: int, size: int, rounds: int, seconds: float, only: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory(prefix="streams-") as name, ExitStack() as stack:
        folder = Path(name)
        (folder / "body").write_bytes(b"go")
        lua = folder / "post.lua"
        lua.write_text(wrk.script(folder / "body", "application/octet-stream"))
        servers = {"bare": stack.enter_context(bare(pieces, size))}
        for each in only or _HANDLERS:
            servers[each] = stack.enter_context(ours(each, folder / each, streams, pieces, size))
        runs: dict[str, list[tuple[float, float, float]]] = {each: [] for each in servers}
        for number in range(rounds + 1):
            for each, (processes, url) in servers.items():
                before = [_spent(process) for process in processes]
                sample = wrk.drive(url, lua, streams, seconds if number else 1.0)
                front, *others = [_spent(process) - was for process, was in zip(processes, before, strict=True)]
                assert not sample.fault, sample.fault
                chunk = 1e6 / (sample.requests * pieces)
                if number:  # the first warms up
                    runs[each].append((sample.rate * pieces, front * chunk, sum(others) * chunk))
        click.echo("| handler | chunks/s | front, us a chunk | worker, us a chunk |")
        click.echo("|---|---:|---:|---:|")
        for each, made in runs.items():
            rates, fronts, workers = zip(*made, strict=True)
            told = f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})"
            click.echo(f"| {each} | {told} | {statistics.median(fronts):.2f} | {statistics.median(workers):.2f} |")


if __name__ == "__main__":
    main()
