"""The start of the server: flags, files and the environment become Settings, which are checked before anything runs."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..core.config.configuration import (
    FOR_ONE_RUN,
    Configuration,
    Finding,
    Override,
    find_config,
    is_unasked,
    read_configuration,
)
from ..core.config.exposure import check_exposure
from ..core.config.settings import Settings
from ..core.config.value_parsers import engine as parse_engine
from ..core.errors import InvalidConfig, ServeError
from ..core.logs.plan import log_folder
from ..core.models.snapshot_folder import SnapshotFolder
from .background import Reporter, start_in_background
from .pidfile import check_none_runs, remove_orphan

if TYPE_CHECKING:
    from ..core.logs.config import LogConfig
    from .serve import Companion


@dataclass(frozen=True, slots=True, kw_only=True)
class StartFlags:
    """A record of the flags of a start. Each field has its flag's name."""

    foreground: bool = False
    ts_config: Path | None = None
    model_store: Path | None = None
    models: tuple[str, ...] = ()
    log_config: Path | None = None
    ncs: bool = False
    disable_token_auth: bool = False
    enable_model_api: bool = False
    allow_unauthenticated_model_api: bool = False
    engine: str | None = None
    workflow_store: Path | None = None
    cpp_log_config: Path | None = None


def start(flags: StartFlags, companion: Companion | None = None) -> None:
    """Start the server, here or in the background. A server here runs the coroutine of `companion` meanwhile.

    Raises InvalidConfig, with a message of one line, for anything that is wrong with flags, files or ports.
    """
    reporter = Reporter()
    try:
        _start(flags, reporter, companion)
    except Exception as error:  # the starter reads one line, and the log has the traceback
        reporter.failed(str(error) if isinstance(error, ServeError) else f"{type(error).__name__}: {error}")
        raise


def _start(flags: StartFlags, reporter: Reporter, companion: Companion | None) -> None:
    _check_working_folder()
    snapshots = snapshot_folder(ncs=flags.ncs)
    check_unused(flags.workflow_store, flags.cpp_log_config)
    configuration = _configuration(flags, snapshots)
    log_config = _log_config(flags.log_config)
    if not reporter.in_background and remove_orphan():
        click.echo("Removing orphan pid file.")
    if flags.foreground or reporter.in_background or os.getpid() == 1:
        from ..core.workers.early_fork_server import begin

        begin(configuration.settings)
        from .serve import run  # heavy: the fork server imports torch meanwhile

        run(configuration, snapshots, log_config, reporter, companion)
    else:
        click.echo(start_in_background(sys.argv[1:], log_folder()))


def _log_config(path: Path | None) -> LogConfig | None:
    if path is None:
        return None
    from ..core.logs.config import read_log_config  # with log4j's grammar, which few starts need

    return read_log_config(path)


def _check_working_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise InvalidConfig(
            f"The working folder can't be used: {error.strerror}. It has been deleted, or this user may not enter it:"
            " change to another one."
        ) from None


def overrides(
    model_store: Path | None,
    models: tuple[str, ...],
    disable_token_auth: bool,
    enable_model_api: bool,
    allow_unauthenticated_model_api: bool,
    engine: str | None = None,
) -> list[Override]:
    """Return the settings that the given flags override. The switches can only switch something on.

    A word of `models` may hold several models separated by commas, as TorchServe accepts them.
    """
    named = tuple(word for each in models for part in each.split(",") if (word := part.strip()))
    given = [
        Override("model_store", model_store, "--model-store"),
        Override("load_models", named, "--models"),
        Override("disable_token_authorization", disable_token_auth, "--disable-token-auth"),
        Override("enable_model_api", enable_model_api, "--enable-model-api"),
        Override(
            "allow_unauthenticated_model_api", allow_unauthenticated_model_api, "--allow-unauthenticated-model-api"
        ),
        Override("engine", engine and _checked(engine), "--engine"),
    ]
    return [override for override in given if override.value]


def _checked(text: str) -> str:
    try:
        return parse_engine(text)
    except ValueError as error:
        raise InvalidConfig(f"--engine {text}: {error}") from None


def _configuration(flags: StartFlags, snapshots: SnapshotFolder | None) -> Configuration:
    check_none_runs()
    if flags.log_config is not None and not flags.log_config.is_file():
        raise InvalidConfig(f"--log-config file not found: {flags.log_config.resolve()}")
    given = overrides(
        flags.model_store, flags.models, flags.disable_token_auth, flags.enable_model_api,
        flags.allow_unauthenticated_model_api, flags.engine,
    )  # fmt: skip
    if flags.workflow_store is not None:
        given.append(Override("workflow_store", flags.workflow_store, "--workflow-store"))
    configuration = read_for_start(flags.ts_config, snapshots, given)
    check(configuration.settings, store_flag=configuration.origin("model_store").name == "--model-store")
    return configuration


def snapshot_folder(*, ncs: bool) -> SnapshotFolder | None:
    """Return the folder of the configuration's snapshots, or None if --ncs was given."""
    return None if ncs else SnapshotFolder(log_folder() / "config")


def read_for_start(ts_config: Path | None, snapshots: SnapshotFolder | None, given: list[Override]) -> Configuration:
    """Return the configuration of a start: the file that it would choose, overridden by the flags. Raises
    InvalidConfig.
    """
    path = find_config(ts_config, snapshot=snapshots.newest) if snapshots else find_config(ts_config)
    configuration = read_configuration(path, given, unasked=is_unasked(ts_config)).check()
    if snapshots is not None and path is not None and path.parent == snapshots.path:
        configuration.findings.insert(0, _taken_over(path, configuration.settings))
    for text in snapshots.distrusted if snapshots is not None else ():
        configuration.findings.append(Finding(logging.WARNING, f"{text}. Name it with --ts-config if it is meant."))
    return configuration


def _taken_over(path: Path, settings: Settings) -> Finding:
    """Return a finding that says that a snapshot is used in place of ./config.properties.

    It is a warning if the snapshot switches a protection off, because the user may not remember that it does.
    """
    unlocked = [key for key in FOR_ONE_RUN if getattr(settings, key)]
    text = f"Configuration and models are taken from the snapshot {path}; --ncs starts without"
    if unlocked:
        return Finding(logging.WARNING, f"{text}. In force: {', '.join(f'{key}=true' for key in unlocked)}")
    return Finding(logging.INFO, text)


def check_unused(workflow_store: Path | None, cpp_log_config: Path | None) -> None:
    """Check the flags that have no effect here. A path that does not exist is an error all the same.

    Raises InvalidConfig.
    """
    if cpp_log_config is not None and not cpp_log_config.is_file():
        raise InvalidConfig(f"--cpp-log-config file not found: {cpp_log_config.resolve()}")
    if workflow_store is not None and not workflow_store.is_dir():
        raise InvalidConfig(f"--workflow-store directory not found: {workflow_store}")


def check(settings: Settings, *, store_flag: bool) -> None:
    """Check what can be known to be wrong before anything is started. Raises InvalidConfig."""
    store = settings.model_store
    if store is None:
        raise InvalidConfig("Missing mandatory parameter --model-store")
    if not store.is_dir():
        raise InvalidConfig(f"{'--model-store' if store_flag else 'model_store'} directory not found: {store}")
    check_exposure(settings)
