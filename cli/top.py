"""The command `torchserve top`, which shows the models, workers and GPUs of a running server, updated each second."""

from __future__ import annotations

import json
import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from .client import Client, Refused
from .load import GpuLoad, ModelLoad, TextLoad, gpu_loads, model_loads, text_loads
from .model_tables import WORKER_COLUMNS, in_bytes, worker_row
from .scrape import Scrape, read_scrape
from .tables import as_texts, rich_table, show_table
from .target import find_target, target_options

if TYPE_CHECKING:
    from rich.console import Group

WINDOW = 10.0  # seconds that rates and quantiles cover
_SHOWN = 20  # models whose workers are shown at most: each costs a request to the server
_MODELS = (
    "model", "version", "workers", "queue", "running", "req/s", "p50 ms", "p99 ms", "batch", "errors",
)  # fmt: skip
_TEXT = (
    "model", "version", "running", "waiting", "KV %", "prompt tok/s", "tok/s", "first p50 ms", "first p99 ms",
    "next p50 ms", "next p99 ms",
)  # fmt: skip
_GPUS = ("gpu", "memory", "memory %", "busy %")


@dataclass(frozen=True, slots=True)
class View:
    """A record of what is shown. Each of `workers` is a model's name, a version and the server's JSON of a worker."""

    models: list[ModelLoad]
    workers: list[tuple[str, str, Mapping[str, Any]]]
    gpus: list[GpuLoad]
    seconds: float
    text: list[TextLoad] = field(default_factory=list[TextLoad])


@click.command(context_settings={"max_content_width": 110})
@click.option("--once", is_flag=True, help="Print one interval and exit, as happens if the output is no terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print one interval as JSON and exit.")
@click.option(
    "--interval", type=click.FloatRange(0.1, 3600.0), default=1.0, show_default=True, help="Seconds between readings."
)
@click.option(
    "--metrics",
    metavar="ADDRESS",
    help="Metrics address of the server. Default: $TS_METRICS_ADDRESS, else as for --management.",
)
@target_options
def top(
    once: bool, as_json: bool, interval: float, metrics: str | None, management: str | None, token: str | None,
    insecure: bool,
) -> None:  # fmt: skip
    """Show the load of each model, its workers and the GPUs, until Ctrl-C.

    Requests per second, latencies (of those that succeeded, queue included) and batch sizes are those of the last
    10 seconds; errors are all refused and failed requests. Of language models, tokens per second and the times to the
    first token and from each to the next are shown as well. GPUs are as the server has measured them last
    (metric_time_interval).
    """
    with Client(find_target(management, token, insecure, metrics)) as client:
        if once or as_json or not sys.stdout.isatty():
            before = _scrape(client)
            time.sleep(interval)
            view = _view(client, before, _scrape(client))
            if as_json:
                click.echo(json.dumps(as_json_object(view), indent=2))
            else:
                _print(view)
            return
        _live(client, interval)


def as_json_object(view: View) -> dict[str, Any]:
    """Return the JSON of --json. Its keys are public and must not change."""
    workers = [{"model": name, "version": version, **worker} for name, version, worker in view.workers]
    return {
        "window_seconds": round(view.seconds, 3),
        "models": [asdict(each) for each in view.models],
        "workers": workers,
        "gpus": [asdict(each) for each in view.gpus],
        "language_models": [asdict(each) for each in view.text],
    }


def model_row(load: ModelLoad) -> tuple[object, ...]:
    """Return the cells of a model version, in the order of _MODELS."""
    return (
        load.model, load.version, f"{load.workers_ready}/{load.workers_wanted}", load.queue_depth, load.in_flight,
        f"{load.requests_per_second:.1f}", _number(load.p50_ms), _number(load.p99_ms), _number(load.batch_size),
        load.errors,
    )  # fmt: skip


def text_row(load: TextLoad) -> tuple[object, ...]:
    """Return the cells of a language model's version, in the order of _TEXT."""
    return (
        load.model, load.version, load.running, load.waiting, _number(load.kv_cache_percent),
        _number(load.prompt_tokens_per_second), _number(load.generation_tokens_per_second),
        _number(load.first_token_p50_ms), _number(load.first_token_p99_ms),
        _number(load.next_token_p50_ms), _number(load.next_token_p99_ms),
    )  # fmt: skip


def gpu_row(load: GpuLoad) -> tuple[object, ...]:
    """Return the cells of a GPU, in the order of _GPUS."""
    memory = None if load.memory_used_bytes is None else in_bytes(load.memory_used_bytes) or "0 B"
    return load.gpu, memory, _number(load.memory_percent), _number(load.utilization_percent)


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f}"


_Table: TypeAlias = tuple[str, Sequence[str], Sequence[tuple[object, ...]]]


def _tables(view: View) -> list[_Table]:
    workers = [(name, version, *worker_row(worker)) for name, version, worker in view.workers]
    found: list[_Table] = [("models", _MODELS, [model_row(each) for each in view.models])]
    found += [("language models", _TEXT, [text_row(each) for each in view.text])] if view.text else []
    found += [("workers", ("model", "version", *WORKER_COLUMNS), workers)] if workers else []
    return found + ([("GPUs", _GPUS, [gpu_row(each) for each in view.gpus])] if view.gpus else [])


def _print(view: View) -> None:
    for place, (title, columns, rows) in enumerate(_tables(view)):
        if place:
            click.echo()
        show_table(columns, rows, title)


def _live(client: Client, interval: float) -> None:
    from rich.live import Live  # slow to import, and not needed elsewhere

    past = deque([_scrape(client)])
    try:
        with Live(_drawn(_view(client, past[0], past[0])), screen=True, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                past.append(_scrape(client))
                while len(past) > 2 and past[-1].at - past[1].at >= WINDOW:
                    past.popleft()
                live.update(_drawn(_view(client, past[0], past[-1])), refresh=True)
    except KeyboardInterrupt:
        return


def _drawn(view: View) -> Group:
    from rich.console import Group

    return Group(*(rich_table(columns, as_texts(rows), title) for title, columns, rows in _tables(view)))


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
