"""Target: the server that `torchserve models` and `top` call: its addresses, its key, and who named them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ..core.config.address import Address, parse_address
from ..core.config.configuration import find_config, read_configuration
from ..core.config.settings import Settings
from ..core.errors import InvalidConfig
from .runtime_file import RunningServer, find_running_server

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (what a server binds, where a client can't call)


@dataclass(frozen=True, slots=True)
class Target:
    """`named`: the user has named the management address, so a key is not sent there unless the user gave that too.

    `source` says in words where the addresses are from. No `metrics`: the server doesn't open it.
    """

    management: Address
    metrics: Address | None
    source: str
    token: str = ""
    named: bool = False
    insecure: bool = False

    def verify(self, address: Address) -> bool:
        """Whether a certificate must be good: not on this machine, where it is our own server."""
        return self.named and not address.loopback and not self.insecure


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `find_target` takes, under its parameters' names."""
    for option in (
        click.option("--insecure", is_flag=True, help="Take any certificate of a server that --management names."),
        click.option("--token", metavar="KEY", help="Its management key. Default: $TS_TOKEN, else from the key file."),
        click.option(
            "--management", metavar="ADDRESS",
            help="Management address of the server, http://host:port, https://host:port or unix:/path. Default:"
            " $TS_MANAGEMENT_ADDRESS, else the server that runs here, else config.properties.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def find_target(
    management: str | None = None,
    token: str | None = None,
    insecure: bool = False,
    metrics: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> Target:
    """Flags, then variables, then the running server, then the configuration. Raises click.ClickException, one line."""
    named = management or environment.get("TS_MANAGEMENT_ADDRESS")
    metrics_named = metrics or environment.get("TS_METRICS_ADDRESS")
    given = token or environment.get("TS_TOKEN") or ""
    try:
        if named:
            source = "--management" if management else "TS_MANAGEMENT_ADDRESS"
            address = _callable(parse_address(named, 8081))
            beside = None if address.path else replace(address, port=8445 if address.tls else 8082)
            found = Target(address, beside, source, given, named=True, insecure=insecure)
        else:
            running = find_running_server()
            found = _here(running, given) if running is not None else _configured(given)
        return replace(found, metrics=_callable(parse_address(metrics_named, 8082))) if metrics_named else found
    except (InvalidConfig, ValueError) as error:
        raise click.ClickException(str(error)) from None


def find_inference(
    named: str | None, key: str | None, config: Path | None, environment: Mapping[str, str] = os.environ
) -> tuple[Address, str]:
    """The inference address, and the key that goes there; looked for as `find_target` does, or in the file `config`.

    A key out of the key file is for the server that runs here and no other. Raises click.ClickException, one line.
    """
    named = named or environment.get("TS_INFERENCE_ADDRESS")
    key = key or environment.get("TS_INFERENCE_TOKEN") or ""
    try:
        if named:
            return _callable(parse_address(named, 8080)), key
        running = find_running_server() if config is None else None
        if running is not None and "inference" in running.addresses:
            return _callable(running.addresses["inference"]), key or _key(running.key_file, "inference")
        path = config or find_config(None)
        settings = Settings() if path is None else read_configuration(path).settings
        return _callable(settings.inference_address), key
    except (InvalidConfig, ValueError) as error:
        raise click.ClickException(str(error)) from None


def _here(running: RunningServer, token: str) -> Target:
    if running.foreign or "management" not in running.addresses:
        raise InvalidConfig(
            "The server that runs here is another user's: name its address with --management, and its key with --token."
        )
    addresses = {face: _callable(address) for face, address in running.addresses.items()}
    token = token or _key(running.key_file)
    return Target(addresses["management"], addresses.get("metrics"), "the running server", token)


def _configured(token: str) -> Target:
    settings, source = Settings(), "the default address"
    path = find_config(None)
    if path is not None:
        settings, source = read_configuration(path).settings, str(path)
    metrics = _callable(settings.metrics_address) if settings.enable_metrics_api else None
    return Target(_callable(settings.management_address), metrics, source, token)


def _key(file: Path | None, kind: str = "management") -> str:
    """The key of this kind in a key file, "" where that can't be read: the server then says that one is missing."""
    if file is None:
        return ""
    try:
        return str(json.loads(file.read_bytes())[kind]["key"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _callable(address: Address) -> Address:
    return replace(address, host=_EVERYWHERE.get(address.host, address.host))
