"""The command `torchserve profile`, which records what a worker of a running server does, or shows its stacks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from .client import Client
from .completion import complete_models
from .target import find_target, target_options


@click.command(context_settings={"max_content_width": 110})
@click.argument("model", shell_complete=complete_models)
@click.option("--version", help="This version. Default: the model's default version.")
@click.option(
    "--worker", metavar="ID", help="The worker, as `torchserve models describe` names it. Default: a busy one."
)
@click.option(
    "--seconds", type=click.IntRange(1, 60), default=10, show_default=True, help="How long to record, at most."
)
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE",
    help="The file to write. Default: the worker's name and the time, in the working folder.",
)  # fmt: skip
@click.option("--stacks", is_flag=True, help="Print what each thread of the workers is doing now, and record nothing.")
@target_options
def profile(
    model: str, version: str | None, worker: str | None, seconds: int, output: Path | None, stacks: bool, **target: Any
) -> None:
    """Record what a worker of MODEL does while it goes on answering, and write it as a trace.

    The file opens in Perfetto (https://ui.perfetto.dev), chrome://tracing and TensorBoard. A handler that uses torch is
    recorded by torch's profiler; of any other, the Python stacks are sampled. A recording begins between two batches,
    and ends after the seconds or 500 batches. For a handler that hangs there is --stacks, which needs no help of it.
    """
    path = ["models", model, *([version] if version else [])]
    with Client(find_target(**target), timeout=None) as client:
        if stacks:
            _show(client.manage("GET", *path, "stacks", query={"worker": worker}))
            return
        data, headers = client.fetch("POST", *path, "profile", query={"worker": worker, "seconds": seconds})
    name = headers.get("Content-Disposition", "").partition('filename="')[2].rstrip('"')
    file = output or Path(Path(name).name or f"{model}.pt.trace.json.gz")
    _write(file, data)
    click.echo(f"{file}: {len(data)} bytes, {headers.get('X-Profile-Note', 'a trace')}")


def _write(file: Path, data: bytes) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as target:  # noqa: PTH123  (of a descriptor)
            target.write(data)
    except OSError as error:
        raise click.ClickException(f"{file} can't be written: {error.strerror}") from None


def _show(told: dict[str, Any]) -> None:
    for place, worker in enumerate(told["workers"]):
        doing = "runs a batch" if worker.get("busy") else worker["state"]
        click.echo(f"{chr(10) if place else ''}{worker['name']} ({doing})")
        click.echo("\n".join([f"  {line}" for line in worker.get("stacks", [])] or [f"  {worker.get('error', '')}"]))
    if not told["workers"]:
        click.echo("It has no workers.", err=True)
