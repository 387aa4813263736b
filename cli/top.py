"""The command `torchserve top`, which shows the models, workers and GPUs of a running server, updated each second."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from .client import Client, Refused
from .load import gpu_loads, model_loads, text_loads
from .scrape import Scrape, read_scrape
from .target import find_target, target_options
from .top_record import Record, readings
from .view import View, as_json_object, drawn, show

WINDOW = 10.0  # seconds that rates and quantiles cover
_SHOWN = 20  # models whose workers are shown at most: each costs a request to the server
_DATE = click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M"])


@click.command(context_settings={"max_content_width": 110})
@click.option("--once", is_flag=True, help="Print one interval and exit, as happens if the output is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print one interval as JSON and exit.")
@click.option(
    "--interval", type=click.FloatRange(0.1, 3600.0), default=1.0, show_default=True, help="Seconds between readings."
)
@click.option(
    "--record", type=click.Path(path_type=Path), metavar="FILE",
    help="Append each reading to FILE, and go on until Ctrl-C also if the output is no terminal. At 64 MiB it is"
    " renamed to FILE.1, in place of the one before.",
)  # fmt: skip
@click.option(
    "--replay", type=click.Path(path_type=Path), metavar="FILE",
    help="Show what --record has kept, no server needed: on a terminal one reading each interval, else all of them.",
)  # fmt: skip
@click.option("--since", type=_DATE, help="With --replay: only readings from this local time on.")
@click.option("--until", type=_DATE, help="With --replay: only readings up to this local time.")
@click.option(
    "--metrics",
    metavar="ADDRESS",
    help="Metrics address of the server. Default: $TS_METRICS_ADDRESS, else as for --management.",
)
@target_options
def top(
    once: bool, as_json: bool, interval: float, record: Path | None, replay: Path | None, since: datetime | None,
    until: datetime | None, metrics: str | None, **target: Any,
) -> None:  # fmt: skip
    """Show the load of each model, its workers and the GPUs, until Ctrl-C.

    Requests per second, latencies (of those that succeeded, queue included) and batch sizes are those of the last
    10 seconds; errors are all refused and failed requests. Of language models, tokens per second and the times to the
    first token and from each to the next are shown as well. GPUs are as the server has measured them last
    (metric_time_interval).
    """
    if replay is not None:
        if record is not None:
            raise click.UsageError("--record and --replay exclude one another")
        _replay(_between(replay, since, until), interval, once=once, as_json=as_json)
        return
    kept = Record(record) if record is not None else None
    with Client(find_target(metrics=metrics, **target)) as client:
        if once or as_json or (kept is None and not sys.stdout.isatty()):
            before = _scrape(client)
            time.sleep(interval)
            view = _view(client, before, _scrape(client))
            if kept is not None:
                kept.add(time.time(), view)
            if as_json:
                click.echo(json.dumps(as_json_object(view), indent=2))
            else:
                show(view)
        elif sys.stdout.isatty():
            _live(client, interval, kept)
        else:
            _keep(client, interval, kept)


def _live(client: Client, interval: float, kept: Record | None) -> None:
    from rich.live import Live  # slow to import, and not needed elsewhere

    past = deque([_scrape(client)])
    try:
        with Live(drawn(_view(client, past[0], past[0])), screen=True, auto_refresh=False) as live:
            for view, error in _looks(client, interval, past, go_on=kept is not None):
                if kept is not None:
                    kept.add(time.time(), view, error)
                live.update(error if view is None else drawn(view), refresh=True)
    except KeyboardInterrupt:
        return


def _keep(client: Client, interval: float, kept: Record | None) -> None:
    """Record without showing anything."""
    try:
        for view, error in _looks(client, interval, deque(), go_on=True):
            if kept is not None:
                kept.add(time.time(), view, error)
    except KeyboardInterrupt:
        return


def _looks(client: Client, interval: float, past: deque[Scrape], *, go_on: bool) -> Iterator[tuple[View | None, str]]:
    """Yield what is seen at each interval, or with `go_on` why nothing is: a server that is gone may come back."""
    while True:
        if past:
            time.sleep(interval)
        try:
            past.append(_scrape(client))
            while len(past) > 2 and past[-1].at - past[1].at >= WINDOW:
                past.popleft()
            yield _view(client, past[0], past[-1]), ""
        except click.ClickException as error:
            if not go_on:
                raise
            yield None, error.message
            if not past:
                time.sleep(interval)


def _between(path: Path, since: datetime | None, until: datetime | None) -> Iterator[tuple[float, View | None, str]]:
    first = since.timestamp() if since is not None else 0.0
    last = until.timestamp() if until is not None else float("inf")
    return (each for each in readings(path) if first <= each[0] <= last)


def _replay(found: Iterator[tuple[float, View | None, str]], interval: float, *, once: bool, as_json: bool) -> None:
    """Show readings: all of them, or with `once` the last one."""
    if once:
        found = iter(deque(found, maxlen=1))
    first = next(found, None)
    if first is None:
        raise click.ClickException("There is no reading to show.")
    if as_json:
        for at, view, error in _with(first, found):
            told = {"error": error} if view is None else as_json_object(view)
            click.echo(json.dumps({"at": at, **told}))
    elif once or not sys.stdout.isatty():
        for number, (at, view, error) in enumerate(_with(first, found)):
            click.echo(f"{chr(10) if number else ''}{_time(at)}")
            if view is None:
                click.echo(error)
            else:
                show(view)
    else:
        _play(_with(first, found), interval)


def _play(found: Iterator[tuple[float, View | None, str]], interval: float) -> None:
    from rich.live import Live

    try:
        with Live("", screen=True, auto_refresh=False) as live:
            for at, view, error in found:
                live.update(f"{_time(at)}\n{error}" if view is None else drawn(view, _time(at)), refresh=True)
                time.sleep(interval)
    except KeyboardInterrupt:
        return


def _with(
    first: tuple[float, View | None, str], rest: Iterator[tuple[float, View | None, str]]
) -> Iterator[tuple[float, View | None, str]]:
    yield first
    yield from rest


def _time(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")


def _scrape(client: Client) -> Scrape:
    return read_scrape(client.scrape(), time.monotonic())


def _view(client: Client, before: Scrape, now: Scrape) -> View:
    models = model_loads(before, now)
    workers: list[tuple[str, str, Mapping[str, Any]]] = []
    for name in list(dict.fromkeys(each.model for each in models))[:_SHOWN]:
        try:
            entries = client.manage("GET", "models", name, "all")
        except Refused as error:
            if error.status != 404:  # it was removed after the scrape
                raise
            continue
        workers += [(name, entry["modelVersion"], worker) for entry in entries for worker in entry["workers"]]
    return View(models, workers, gpu_loads(now), now.at - before.at, text_loads(before, now))
