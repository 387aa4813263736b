"""View: what `torchserve top` shows at a time, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from .load import GpuLoad, ModelLoad, TextLoad
from .model_tables import WORKER_COLUMNS, in_bytes, worker_row
from .tables import as_texts, rich_table, show_table

if TYPE_CHECKING:
    from rich.console import Group

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


def show(view: View) -> None:
    """Print the tables."""
    for place, (title, columns, rows) in enumerate(_tables(view)):
        if place:
            click.echo()
        show_table(columns, rows, title)


def drawn(view: View, title: str = "") -> Group:
    """Return the tables for a terminal, below a title."""
    from rich.console import Group

    return Group(
        *([title] if title else []),
        *(rich_table(columns, as_texts(rows), title) for title, columns, rows in _tables(view)),
    )
