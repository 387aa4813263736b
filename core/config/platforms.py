"""Platforms: what KServe, SageMaker and Vertex AI ask of a server that they start, by the variables that they set.

All three send requests to ports of their own choice, beyond loopback, without keys; whoever may call the server is
decided in front of it. So where one of their variables is set, other defaults hold: tokens are off, and predictions
are served at the platform's ports beside the configured ones. Whatever a file, a flag or a `TS_` variable says still
counts, and `platform=none` leaves all of this out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .address import Address
from .value_parsers import route

KSERVE_PROTOCOLS = ("v1", "v2", "grpc-v2")
SAGEMAKER_MODEL = Path("/opt/ml/model")
# Set for every container that is started, or by AWS's images and toolkits for those that serve.
_OF_SAGEMAKER = (
    "SAGEMAKER_MULTI_MODEL", "SAGEMAKER_BIND_TO_PORT", "SAGEMAKER_SAFE_PORT_RANGE", "SAGEMAKER_SERVING_MODULE",
    "SAGEMAKER_PROGRAM", "SAGEMAKER_SUBMIT_DIRECTORY",
)  # fmt: skip
# AIP_STORAGE_URI is no sign: training jobs have it as well.
_OF_VERTEX = ("AIP_HTTP_PORT", "AIP_PREDICT_ROUTE", "AIP_HEALTH_ROUTE")
_ANYWHERE = "0.0.0.0"  # noqa: S104  (a platform's requests come from other machines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """A platform that started this server. `sign` is what says so.

    `defaults` are the values of keys that nothing else gives. `ports` are those at which the platform expects
    predictions, on every address of the machine.
    """

    name: str
    sign: str
    ports: tuple[int, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])


def find_platform(environment: Mapping[str, str], wanted: str = "auto", *, grpc: bool = True) -> Platform | None:
    """Return the platform that `wanted`, the setting `platform`, names or, if that is `auto`, the environment's
    variables show; None if there is none.

    `grpc` is the setting enable_grpc. Raises ValueError if a variable of the platform can't be understood.
    """
    if wanted == "none":
        return None
    sign = _sign(environment, _OF_SAGEMAKER)
    if wanted == "sagemaker" or (wanted == "auto" and sign):
        return _sagemaker(environment, sign or "platform=sagemaker")
    sign = _sign(environment, _OF_VERTEX)
    if wanted == "vertex" or (wanted == "auto" and sign):
        return _vertex(environment, sign or "platform=vertex")
    # Other programs have variables of that name, with other values.
    told = environment.get("PROTOCOL_VERSION", "").strip() in KSERVE_PROTOCOLS
    if wanted == "kserve" or told:
        return _kserve(f"PROTOCOL_VERSION={environment['PROTOCOL_VERSION']}" if told else "platform=kserve", grpc=grpc)
    return None


def further_addresses(
    ports: tuple[int, ...], given: tuple[Address, ...], taken: Mapping[str, Address]
) -> tuple[tuple[Address, ...], list[str]]:
    """Return the addresses beside inference_address where predictions are served, and what can't be had of `ports`.

    `given` are those that were configured, `taken` all others by key.
    """
    chosen, lacking = list(given), list[str]()
    for port in ports:
        here = [(key, address) for key, address in taken.items() if address.port == port]
        if any(key == "inference_address" and address.everywhere for key, address in here):
            continue
        if here:
            key, address = here[0]
            lacking.append(f"port {port} on every address: it is that of {key}={address}")
        elif all(address.port != port for address in chosen):
            chosen.append(Address(_ANYWHERE, port))
    return tuple(chosen), lacking


def _kserve(sign: str, *, grpc: bool) -> Platform:
    """Return KServe, whose image of TorchServe has a proxy at 8080 and 8081 in front of a TorchServe at 8085."""
    return Platform(
        name="KServe",
        sign=sign,
        ports=(8080, 8081) if grpc else (8080,),
        defaults={
            "inference_address": Address(_ANYWHERE, 8080),
            "management_address": Address("127.0.0.1", 8085),
            "metrics_address": Address(_ANYWHERE, 8082),
            "disable_token_authorization": True,
        },
    )


def _sagemaker(environment: Mapping[str, str], sign: str) -> Platform:
    port = _port(environment, "SAGEMAKER_BIND_TO_PORT")
    defaults: dict[str, Any] = {
        "inference_address": Address(_ANYWHERE, port),
        "disable_token_authorization": True,
        # AWS's toolkit writes enable_model_api=true for every endpoint, with one port for all APIs.
        "allow_unauthenticated_model_api": True,
    }
    if environment.get("SAGEMAKER_MULTI_MODEL", "").strip().lower() == "true":
        defaults |= {"management_address": Address(_ANYWHERE, port), "enable_model_api": True, "model_store": Path("/")}
    else:
        defaults |= _models_in(SAGEMAKER_MODEL)
    return Platform(name="SageMaker", sign=sign, ports=(port,), defaults=defaults)


def _vertex(environment: Mapping[str, str], sign: str) -> Platform:
    port = _port(environment, "AIP_HTTP_PORT")
    defaults: dict[str, Any] = {"inference_address": Address(_ANYWHERE, port), "disable_token_authorization": True}
    for key, variable in (("health_route", "AIP_HEALTH_ROUTE"), ("predict_route", "AIP_PREDICT_ROUTE")):
        if given := environment.get(variable, "").strip():
            try:
                defaults[key] = route(given)
            except ValueError as error:
                raise ValueError(f"{variable}={given}: {error}") from None
    if (storage := environment.get("AIP_STORAGE_URI", "").strip()).startswith("gs://"):
        # As in Google's own images, whose models are asked {"instances": [...]}.
        defaults |= {"load_models": (f"{storage.rstrip('/')}/",), "service_envelope": "json"}
    return Platform(name="Vertex AI", sign=sign, ports=(port,), defaults=defaults)


def _models_in(folder: Path) -> dict[str, Any]:
    """Return the settings that load what lies in `folder`: its archives, or itself if it is an unpacked one."""
    try:
        if any(folder.glob("*.mar")):
            return {"model_store": folder, "load_models": ("all",)}
        if (folder / "MAR-INF").is_dir():
            return {"model_store": folder, "load_models": (f"model={folder}",)}
    except OSError:  # this user may not look into it
        pass
    return {}


def _sign(environment: Mapping[str, str], names: tuple[str, ...]) -> str:
    return next((f"{name} is set" for name in names if environment.get(name, "").strip()), "")


def _port(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, "").strip() or "8080"
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 0 < int(text) < 65536):
        raise ValueError(f"{name}={text[:40]} is no port")
    return int(text)
