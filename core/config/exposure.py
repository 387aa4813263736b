"""exposure(): which APIs can be used from other machines without a key, and what that permits."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import InvalidConfig
from .address import Address
from .settings import Settings

_METRICS = "read how the server and the machine are used"
_PREDICT = "predict with every model"
_MANAGE = "list models with their settings and errors, change their workers and default versions"
_REGISTER = "and register models, WHICH RUNS ANY CODE as the user of this server"


def check_exposure(settings: Settings) -> None:
    """Raise InvalidConfig if anybody could register models over the network and no setting permits that."""
    if settings.allow_unauthenticated_model_api or not _commands(settings):
        return
    raise InvalidConfig(
        "enable_model_api=true without tokens lets everybody who can reach"
        f" {_beyond(settings.management_addresses)} run code on"
        " this machine. Switch tokens on by leaving disable_token_authorization (--disable-token-auth) out, or bind"
        f" {_nearer(settings)}. If it is meant, say so with"
        " allow_unauthenticated_model_api=true or --allow-unauthenticated-model-api, or, where enable_envvars_config is"
        " true, with TS_ALLOW_UNAUTHENTICATED_MODEL_API=true"
    )


def exposure(settings: Settings) -> str:
    """Return a line for the log on what other machines may use because tokens are off; "" if nothing."""
    if settings.tokens:
        return ""
    found: list[str] = []
    if far := _beyond(settings.inference_addresses):
        found.append(f"inference at {far} ({_PREDICT})")
    if far := _beyond(settings.management_addresses):
        found.append(f"management at {far} ({_MANAGE}{f', {_REGISTER}' if _commands(settings) else ''})")
    if found and settings.enable_metrics_api and not settings.metrics_address.loopback:
        found.append(f"metrics at {settings.metrics_address} ({_METRICS})")
    if not found:
        return ""
    return (
        f"Token authorization is off: everybody who can reach this machine may use {'; '.join(found)}. Tokens are on"
        " without disable_token_authorization; else keep these ports closed to others."
    )


def _commands(settings: Settings) -> bool:
    """Return whether models can be registered from other machines without a key."""
    return settings.model_api and not settings.tokens and not settings.management_loopback


def _nearer(settings: Settings) -> str:
    """Return which management addresses are to be bound to loopback, and how."""
    ways: list[str] = []
    if not settings.management_address.loopback:
        ways.append(f"management_address to http://127.0.0.1:{settings.management_address.port}")
    if settings.enable_grpc and not settings.grpc_management.loopback:
        ways.append("grpc_management_address to 127.0.0.1")
    return " and ".join(ways)


def _beyond(addresses: Iterable[Address]) -> str:
    """Return those of the addresses that other machines can reach."""
    return " and ".join(str(each) for each in addresses if not each.loopback)
