"""exposure(): which APIs can be used from other machines without a key, and what that permits."""

from __future__ import annotations

from ..errors import InvalidConfig
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
        f"enable_model_api=true without tokens lets everybody who can reach {settings.management_address} run code on"
        " this machine. Switch tokens on by leaving disable_token_authorization (--disable-token-auth) out, or bind"
        f" management_address to http://127.0.0.1:{settings.management_address.port}. If it is meant, say so with"
        " allow_unauthenticated_model_api=true or --allow-unauthenticated-model-api, or, where enable_envvars_config is"
        " true, with TS_ALLOW_UNAUTHENTICATED_MODEL_API=true"
    )


def exposure(settings: Settings) -> str:
    """Return a line for the log on what other machines may use because tokens are off; "" if nothing."""
    if settings.tokens:
        return ""
    found: list[str] = []
    if not settings.inference_address.loopback:
        found.append(f"inference at {settings.inference_address} ({_PREDICT})")
    if not settings.management_address.loopback:
        found.append(
            f"management at {settings.management_address} ({_MANAGE}{f', {_REGISTER}' if _commands(settings) else ''})"
        )
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
    return settings.model_api and not settings.tokens and not settings.management_address.loopback
