"""Which server the commands call: its addresses, its key, and where these were found."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from ..core.config.address import Address, parse_address
from ..core.config.configuration import find_config, is_unasked, read_configuration
from ..core.config.settings import Settings
from ..core.errors import InvalidConfig
from ..core.trusted_file import read_trusted
from .runtime_file import RunningServer, find_running_server

# A server binds these addresses; a client has to call loopback instead.
_WILDCARD_HOSTS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


@dataclass(frozen=True, slots=True)
class Target:
    """The addresses of a server and the key for its management API.

    `named` says that the user has named the management address; the key of the key file is then not sent there.
    `source` says in words where the addresses were found. `metrics` is None if the server does not serve its metrics
    API.
    """

    management: Address
    metrics: Address | None
    source: str
    token: str = ""
    named: bool = False
    insecure: bool = False

    def verify(self, address: Address) -> bool:
        """Return whether the certificate at `address` must be valid: not on loopback, where the server is our own."""
        return self.named and not address.loopback and not self.insecure


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that `find_target` takes to a click command."""
    for option in (
        click.option("--insecure", is_flag=True, help="Accept any certificate of the server that --management names."),
        click.option("--token", metavar="KEY", help="Management key of the server. Default: $TS_TOKEN, else the one in"
            " the key file."),
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
    """Return the server that flags, environment variables, the runtime file or the configuration name, in this order.

    Raises click.ClickException with a message of one line.
    """
    named = management or environment.get("TS_MANAGEMENT_ADDRESS")
    metrics_named = metrics or environment.get("TS_METRICS_ADDRESS")
    given = token or environment.get("TS_TOKEN") or ""
    try:
        if named:
            source = "--management" if management else "TS_MANAGEMENT_ADDRESS"
            address = _reachable(parse_address(named, 8081))
            beside = None if address.path else replace(address, port=8445 if address.tls else 8082)
            found = Target(address, beside, source, given, named=True, insecure=insecure)
        else:
            running = find_running_server()
            found = _from_runtime_file(running, given) if running is not None else _from_configuration(given)
        return replace(found, metrics=_reachable(parse_address(metrics_named, 8082))) if metrics_named else found
    except (InvalidConfig, ValueError) as error:
        raise click.ClickException(str(error)) from None


def find_inference(
    named: str | None,
    key: str | None,
    config: Path | None,
    environment: Mapping[str, str] = os.environ,
    *,
    rpc: bool = False,
) -> tuple[Address, str]:
    """Return the inference address, with `rpc` that of gRPC, and the key for it.

    They are looked for as `find_target` does, or in the file `config`. A key out of the key file is used for the server
    that runs here and for no other. Raises click.ClickException with a message of one line.
    """
    named = named or (None if rpc else environment.get("TS_INFERENCE_ADDRESS"))
    key = key or environment.get("TS_INFERENCE_TOKEN") or ""
    face = "grpc_inference" if rpc else "inference"
    try:
        if named:
            return _reachable(parse_rpc_address(named) if rpc else parse_address(named, 8080)), key
        running = find_running_server() if config is None else None
        if running is not None and face in running.addresses:
            return _reachable(running.addresses[face]), key or _key(running.key_file, "inference")
        path = config or find_config(None)
        settings = Settings() if path is None else read_configuration(path, unasked=is_unasked(config)).settings
        return _reachable(settings.grpc_inference if rpc else settings.inference_address), key
    except (InvalidConfig, ValueError) as error:
        raise click.ClickException(str(error)) from None


def parse_rpc_address(text: str) -> Address:
    """Return the address of gRPC in `text`: grpc://host:port, or grpcs:// with TLS. Raises ValueError.

    http:// and https:// mean the same, and so does HOST:PORT without TLS, as clients of gRPC have it.
    """
    scheme, there, rest = text.strip().partition("://")
    if not there and not text.strip().lower().startswith("unix:"):
        scheme, rest = "grpc", text.strip()
    plain = {"grpc": "http", "grpcs": "https"}.get(scheme.lower())
    try:
        return parse_address(text if plain is None else f"{plain}://{rest}", 7070)
    except ValueError:
        raise ValueError(f"Invalid address: {text} (grpc://host:port, grpcs://host:port or unix:/path)") from None


def _from_runtime_file(running: RunningServer, token: str) -> Target:
    if running.foreign or "management" not in running.addresses:
        raise InvalidConfig(
            "The server that runs here is another user's: name its address with --management, and its key with --token."
        )
    addresses = {face: _reachable(address) for face, address in running.addresses.items()}
    token = token or _key(running.key_file)
    return Target(addresses["management"], addresses.get("metrics"), "the running server", token)


def _from_configuration(token: str) -> Target:
    settings, source = Settings(), "the default address"
    path = find_config(None)
    if path is not None:
        settings, source = read_configuration(path, unasked=is_unasked(None)).settings, str(path)
    metrics = _reachable(settings.metrics_address) if settings.enable_metrics_api else None
    return Target(_reachable(settings.management_address), metrics, source, token)


def _key(file: Path | None, kind: str = "management") -> str:
    """Return the key of this kind in a key file, or "" if the file can't be read: the server then says that a key is
    missing.
    """
    if file is None:
        return ""
    try:
        return str(json.loads(read_trusted(file))[kind]["key"])
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _reachable(address: Address) -> Address:
    return replace(address, host=_WILDCARD_HOSTS.get(address.host, address.host))
