"""`torchserve --start`: flags and properties become Settings; the server runs here, or in the background."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from ..core.config.settings import Settings, find_config, load_settings
from ..core.errors import InvalidConfig
from ..core.logs import log_folder
from .background import Reporter, start_in_background
from .pidfile import running_pid


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
) -> None:
    """Start the server. Raises InvalidConfig, one line, for all that is wrong with flags, files and ports."""
    del ncs  # there are no snapshots to leave out
    reporter = Reporter()
    try:
        settings = _settings(ts_config, model_store, models, log_config, disable_token_auth, enable_model_api)
    except InvalidConfig as error:
        reporter.failed(str(error))
        raise
    if foreground or reporter.in_background or os.getpid() == 1:
        from .serve import run

        run(settings, log_config, reporter)
    else:
        click.echo(start_in_background(sys.argv[1:], log_folder()))


def _settings(
    ts_config: Path | None,
    model_store: Path | None,
    models: tuple[str, ...],
    log_config: Path | None,
    disable_token_auth: bool,
    enable_model_api: bool,
) -> Settings:
    if running_pid() is not None:
        raise InvalidConfig("TorchServe is already running, please use torchserve --stop to stop TorchServe.")
    if log_config is not None and not log_config.is_file():
        raise InvalidConfig(f"--log-config file not found: {log_config.resolve()}")
    settings = load_settings(find_config(ts_config))
    settings = replace(
        settings,
        model_store=model_store or settings.model_store,
        load_models=models or settings.load_models,
        disable_token_authorization=disable_token_auth or settings.disable_token_authorization,
        enable_model_api=enable_model_api or settings.enable_model_api,
    )
    check(settings, store_given=model_store is not None)
    return settings


def check(settings: Settings, *, store_given: bool) -> None:
    """What can be known to be wrong before anything is started."""
    store = settings.model_store
    if store is None:
        raise InvalidConfig("Missing mandatory parameter --model-store")
    if not store.is_dir():
        raise InvalidConfig(f"{'--model-store' if store_given else 'model_store'} directory not found: {store}")
    if settings.disable_token_authorization:
        return
    for key in ("inference_address", "management_address"):
        address = getattr(settings, key)
        if not address.loopback:
            raise InvalidConfig(
                f"{key}={address} can be reached from other machines, and this version has no token authorization yet:"
                " bind it to loopback, or say --disable-token-auth if the network itself keeps strangers out."
            )
