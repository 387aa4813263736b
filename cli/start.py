"""`torchserve --start`: flags and properties become Settings; the server runs here, or in the background."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import click

from ..core.config.configuration import Configuration, Finding, Override, find_config, read_configuration
from ..core.config.settings import Settings
from ..core.errors import InvalidConfig
from ..core.logs.config import read_log_config
from ..core.logs.plan import log_folder
from ..core.models.snapshot_folder import SnapshotFolder
from .background import Reporter, start_in_background
from .pidfile import remove_orphan, running_pid


def start(
    *,
    foreground: bool,
    ts_config: Path | None,
    model_store: Path | None,
    models: tuple[str, ...],
    log_config: Path | None,
    ncs: bool,
    disable_token_auth: bool,
    enable_model_api: bool,
    workflow_store: Path | None,
    cpp_log_config: Path | None,
) -> None:
    """Start the server. Raises InvalidConfig, one line, for all that is wrong with flags, files and ports."""
    reporter = Reporter()
    snapshots = snapshot_folder(ncs=ncs)
    try:
        check_unused(workflow_store, cpp_log_config)
        configuration = _configuration(
            log_config, ts_config, snapshots, overrides(model_store, models, disable_token_auth, enable_model_api)
        )
        read = read_log_config(log_config) if log_config is not None else None
        if not reporter.in_background and remove_orphan():
            click.echo("Removing orphan pid file.")
    except InvalidConfig as error:
        reporter.failed(str(error))
        raise
    if foreground or reporter.in_background or os.getpid() == 1:
        from .serve import run

        run(configuration, snapshots, read, reporter)
    else:
        click.echo(start_in_background(sys.argv[1:], log_folder()))


def overrides(
    model_store: Path | None, models: tuple[str, ...], disable_token_auth: bool, enable_model_api: bool
) -> list[Override]:
    """What the flags that were given say about the settings. The two switches can only switch on.

    Models may stand in one word, parted by commas: TorchServe makes one list of all.
    """
    named = tuple(word for each in models for part in each.split(",") if (word := part.strip()))
    given = [
        Override("model_store", model_store, "--model-store"),
        Override("load_models", named, "--models"),
        Override("disable_token_authorization", disable_token_auth, "--disable-token-auth"),
        Override("enable_model_api", enable_model_api, "--enable-model-api"),
    ]
    return [override for override in given if override.value]


def _configuration(
    log_config: Path | None, ts_config: Path | None, snapshots: SnapshotFolder | None, given: list[Override]
) -> Configuration:
    if running_pid() is not None:
        raise InvalidConfig("TorchServe is already running, please use torchserve --stop to stop TorchServe.")
    if log_config is not None and not log_config.is_file():
        raise InvalidConfig(f"--log-config file not found: {log_config.resolve()}")
    configuration = read_for_start(ts_config, snapshots, given)
    check(configuration.settings, store_flag=configuration.origin("model_store").name == "--model-store")
    return configuration


def snapshot_folder(*, ncs: bool) -> SnapshotFolder | None:
    """Where snapshots are kept; None if the flag says that there are none."""
    return None if ncs else SnapshotFolder(log_folder() / "config")


def read_for_start(ts_config: Path | None, snapshots: SnapshotFolder | None, given: list[Override]) -> Configuration:
    """What a start goes by: the file it would choose, and the flags over it. Raises InvalidConfig."""
    path = find_config(ts_config, snapshot=snapshots.newest) if snapshots else find_config(ts_config)
    configuration = read_configuration(path, given).check()
    if snapshots is not None and path is not None and path.parent == snapshots.path:
        configuration.findings.insert(0, _taken_over(path, configuration.settings))
    return configuration


def _taken_over(path: Path, settings: Settings) -> Finding:
    """A snapshot takes the place of ./config.properties: that is said, and first of all what it unlocks."""
    unlocked = [key for key in ("disable_token_authorization", "enable_model_api") if getattr(settings, key)]
    text = f"Configuration and models are taken from the snapshot {path}; --ncs starts without"
    if unlocked:
        return Finding(logging.WARNING, f"{text}. In force: {', '.join(f'{key}=true' for key in unlocked)}")
    return Finding(logging.INFO, text)


def check_unused(workflow_store: Path | None, cpp_log_config: Path | None) -> None:
    """Flags that change nothing here must be right all the same: who gives them relies on what they name."""
    if cpp_log_config is not None and not cpp_log_config.is_file():
        raise InvalidConfig(f"--cpp-log-config file not found: {cpp_log_config.resolve()}")
    if workflow_store is not None and not workflow_store.is_dir():
        raise InvalidConfig(f"--workflow-store directory not found: {workflow_store}")


def check(settings: Settings, *, store_flag: bool) -> None:
    """What can be known to be wrong before anything is started."""
    store = settings.model_store
    if store is None:
        raise InvalidConfig("Missing mandatory parameter --model-store")
    if not store.is_dir():
        raise InvalidConfig(f"{'--model-store' if store_flag else 'model_store'} directory not found: {store}")
