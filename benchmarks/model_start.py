"""Measure how soon a model answers: `python -m benchmarks.model_start --model digits.mar sample.png`.

For each archive this server and TorchServe are started in turn, each from nothing, with one worker, and asked for the
same answer until they give it. What is shown of either: the seconds from the start of the command until its worker is
ready and until the first answer, by the clock, and the processor time of all its processes until that answer. Other
programs on the machine change processor time little, the clock's much: compare the rounds' spread. `--settle` also
waits until the server is idle again, and shows the processor time of what it has done after the first answer.

This server is started with a cache folder of its own for each model, so that its first round remembers nothing of
trials; the later ones do what a next start does.
"""

from __future__ import annotations

import http.client
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.request import Request, urlopen

import click

from . import oracle
from .process import Launch
from .servers import Server
from .workload import Workload

_SERVING = 600.0  # seconds in which a server has answered
_GOAL = 1.0  # of TorchServe's time


@dataclass(frozen=True, slots=True)
class Start:
    """A start: the seconds until the worker was ready and until the first answer, by the clock, the processor's until
    then and, if the server was left alone until it was idle, those after it.
    """

    ready: float
    answer: float
    processor: float
    after: float = 0.0


class _Ours(Server):
    """A process of this server with a cache folder, in which it remembers what trials have shown."""

    def __init__(self, venv: Path, workload: Workload, cache: Path) -> None:
        super().__init__("ours", venv, workload)
        self._cache = cache

    def prepare(self) -> Launch:
        launch = super().prepare()
        return replace(launch, environment={**launch.environment, "XDG_CACHE_HOME": str(self._cache)})


def measure(server: Server, *, settle: bool) -> Start:
    """Start the server, ask it until it answers, and stop it."""
    with server:
        ready = 0.0
        while True:
            ready = ready or (server.age() if _is_ready(server) else 0.0)
            if ready and _answers(server):
                break
            assert server.age() < _SERVING, f"{server.name} does not answer: {server.tail()}"
            time.sleep(0.01)
        answer = server.age()
        processor, after = server.usage().cpu_seconds, 0.0
        if settle:
            time.sleep(1.0)
            server.rest(60.0)
            after = server.usage().cpu_seconds - processor
        return Start(ready, answer, processor, after)


def _is_ready(server: Server) -> bool:
    url = f"{server.management}/models/{server.workload.name}"
    with suppress(OSError, http.client.HTTPException, ValueError, LookupError), urlopen(url, timeout=30) as described:
        return any(worker["status"] == "READY" for worker in json.load(described)[0]["workers"])
    return False


def _answers(server: Server) -> bool:
    headers = {"content-type": server.workload.content_type}
    request = Request(server.predictions, server.workload.body, headers)
    with suppress(OSError, http.client.HTTPException), urlopen(request, timeout=_SERVING) as answer:
        return answer.status == 200
    return False


def told(name: str, starts: list[Start]) -> str:
    """Return a line about a server's starts: medians, and the least and most."""

    def of(field: Callable[[Start], float]) -> str:
        values = [field(each) for each in starts]
        return f"{statistics.median(values):6.2f} ({min(values):.2f} to {max(values):.2f})"

    return (
        f"  {name:10} ready {of(lambda s: s.ready)} s, first answer {of(lambda s: s.answer)} s, of the processor"
        f" {of(lambda s: s.processor)} s, after that {of(lambda s: s.after)} s"
    )


def ratio(ours: list[Start], theirs: list[Start], field: Callable[[Start], float]) -> float:
    """Return the median of the rounds' ratios."""
    return statistics.median(field(a) / field(b) for a, b in zip(ours, theirs, strict=True))


@click.command(help=__doc__)
@click.option(
    "--model", "models", type=(click.Path(path_type=Path, exists=True), click.Path(path_type=Path, exists=True)),
    multiple=True, required=True, help="An archive and a file with the body of a request. May be given again.",
)  # fmt: skip
@click.option("--rounds", default=3, show_default=True, help="How often each server is started.")
@click.option("--our-venv", type=click.Path(path_type=Path, exists=True), default=Path(".venv"), show_default=True)
@click.option("--torchserve-venv", type=click.Path(path_type=Path, exists=True), help="TorchServe's environment.")
@click.option("--only", type=click.Choice(["ours", "torchserve"]), help="Start one of the two.")
@click.option("--settle", is_flag=True, help="Also measure what is done after the first answer.")
def main(
    models: tuple[tuple[Path, Path], ...],
    rounds: int,
    our_venv: Path,
    torchserve_venv: Path | None,
    only: str | None,
    settle: bool,
) -> None:
    peer = None if only == "ours" else oracle.find(torchserve_venv)
    for archive, body in models:
        name = archive.stem
        workload = Workload(name, archive.absolute(), body.read_bytes(), "application/octet-stream", lambda _: [])
        ours: list[Start] = []
        theirs: list[Start] = []
        click.echo(f"{name}:")
        with tempfile.TemporaryDirectory() as cache:
            for _ in range(rounds):
                if only != "torchserve":
                    ours.append(measure(_Ours(our_venv.absolute(), workload, Path(cache)), settle=settle))
                if peer is not None:
                    theirs.append(measure(Server("torchserve", peer, workload), settle=settle))
        for label, starts in (("ours", ours), ("torchserve", theirs)):
            if starts:
                click.echo(told(label, starts))
        if ours and theirs:
            click.echo(
                f"  ours/torchserve: first answer {ratio(ours, theirs, lambda s: s.answer):.2f} by the clock,"
                f" {ratio(ours, theirs, lambda s: s.processor):.2f} of the processor, wanted at most {_GOAL}"
            )


if __name__ == "__main__":
    main()
