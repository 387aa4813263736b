"""The commands `torchserve config show`, which prints where each value comes from, and `check`, which checks a file."""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..core.config.configuration import Configuration, Finding, read_configuration
from ..core.config.keys import KEYS
from ..core.errors import InvalidConfig
from .commands import MODELS_FLAG, SeveralModels
from .start import check as check_start
from .start import overrides, read_for_start, snapshot_folder

_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def config() -> None:
    """Show the configuration and where each value is from; check a config.properties."""


@config.command(cls=SeveralModels)
@click.option("--ts-config", type=click.Path(path_type=Path), help="The config.properties to use.")
@click.option("--model-store", type=click.Path(path_type=Path), help="As given to a start.")
@click.option(MODELS_FLAG, multiple=True, metavar="NAME=ARCHIVE ...", help="As given to a start.")
@click.option("--disable-token-auth", "--dt", is_flag=True, help="As given to a start.")
@click.option("--enable-model-api", is_flag=True, help="As given to a start.")
@click.option("--allow-unauthenticated-model-api", is_flag=True, help="As given to a start.")
@click.option("--engine", metavar="ENGINE", help="As given to a start.")
@click.option("--ncs", "--no-config-snapshots", is_flag=True, help="As given to a start.")
@_AS_JSON
def show(ts_config: Path | None, ncs: bool, as_json: bool, **flags: Any) -> None:
    """Print every value that a start with these flags would use, and whether the file, a flag or a variable says it."""
    try:
        found = read_for_start(ts_config, snapshot_folder(ncs=ncs), overrides(**flags))
    except InvalidConfig as error:
        raise _failed(str(error)) from None
    rows = [
        (key.name, key.shown(getattr(found.settings, key.name)), str(found.origin(key.name))) for key in KEYS.values()
    ]
    if as_json:
        click.echo(json.dumps({name: {"value": value, "source": source} for name, value, source in rows}, indent=2))
    elif sys.stdout.isatty():
        Console().print(_table(rows))
    else:
        for name, value, source in rows:
            click.echo(f"{name}={value}  ({source})")
    _warn(found)


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
@_AS_JSON
def check(file: Path, as_json: bool) -> None:
    """Read FILE as a start would; exit with 1 if it holds an error."""
    try:
        found = read_configuration(file)
    except InvalidConfig as error:
        raise _failed(str(error)) from None
    found.findings += _refused(found)
    listed = [{"level": finding.name, "message": finding.message} for finding in found.findings]
    if as_json:
        click.echo(json.dumps(listed, indent=2))
    else:
        for finding in found.findings:
            click.echo(f"{finding.name}: {finding.message}")
        click.echo(f"{file}: {len(found.errors)} errors, {len(listed) - len(found.errors)} remarks")
    sys.exit(1 if found.errors else 0)


def _refused(found: Configuration) -> list[Finding]:
    """Return what a start would refuse although each value is valid by itself.

    A missing model_store is no finding here, because it may still be given on the command line.
    """
    store = found.settings.model_store
    try:
        check_start(replace(found.settings, model_store=store or Path()), store_flag=False)
    except InvalidConfig as error:
        return [Finding(logging.ERROR, f"{found.path}: {error}")]
    return []


def _table(rows: list[tuple[str, str, str]]) -> Table:
    table = Table("key", "value", "source")
    for name, value, source in rows:
        table.add_row(name, Text(value), Text(source), style="dim" if source == "default" else None)
    return table


def _warn(found: Configuration) -> None:
    for finding in found.findings:
        click.echo(f"{finding.name}: {finding.message}", err=True)


def _failed(text: str) -> click.ClickException:
    return click.ClickException(text)
