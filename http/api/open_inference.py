"""The endpoints of the Open Inference Protocol, beside infer: health, metadata, statistics, and the model repository.

Loading and unloading are registrations: they need the management key, and enable_model_api, wherever they are asked
for, and over a network's inference address they are there only where a key is needed.
"""

from __future__ import annotations

from typing import Final

import orjson

from ...core.errors import BadRequest, MethodNotAllowed, TooLarge
from ...core.payload import Reply
from ...core.version import __version__
from ..app_context import AppContext
from ..message.reply import json_reply
from ..message.request import Request

EXTENSIONS: Final = (
    "binary_tensor_data", "model_repository", "model_repository(unload_dependents)", "model_configuration",
    "statistics",
)  # fmt: skip


def extensions(*, shared_memory: bool) -> tuple[str, ...]:
    """Return the extensions of the protocol that a listener serves."""
    return (*EXTENSIONS, "system_shared_memory") if shared_memory else EXTENSIONS


def server(_context: AppContext, _request: Request, *, shared_memory: bool = False) -> Reply:
    """Answer GET /v2: the server's name, version and extensions of the protocol."""
    served = extensions(shared_memory=shared_memory)
    return json_reply({"name": "torchserve", "version": __version__, "extensions": served})


def live(_context: AppContext, _request: Request) -> Reply:
    """Answer GET /v2/health/live: a server that answers is alive."""
    return json_reply({"live": True})


def ready(context: AppContext, _request: Request) -> Reply:
    """Answer GET /v2/health/ready: 200, or 503 while models that were loaded at start are missing."""
    found = not context.controlplane.missing()
    return json_reply({"ready": found}, 200 if found else 503)


def model(context: AppContext, request: Request) -> Reply:
    """Answer GET /v2/models/{model}[/versions/{version}]: the model's versions and tensors."""
    return json_reply(context.controlplane.repository.metadata(request.params["model"], request.params.get("version")))


def model_ready(context: AppContext, request: Request) -> Reply:
    """Answer GET /v2/models/{model}[/versions/{version}]/ready: 200, or 503 while the version has no worker."""
    name = request.params["model"]
    found = context.controlplane.ready(name, request.params.get("version"))
    return json_reply({"name": name, "ready": found}, 200 if found else 503)


def configuration(context: AppContext, request: Request) -> Reply:
    """Answer GET /v2/models/{model}[/versions/{version}]/config: how the model is run, under Triton's keys."""
    return json_reply(
        context.controlplane.repository.configuration(request.params["model"], request.params.get("version"))
    )


def statistics(context: AppContext, request: Request) -> Reply:
    """Answer GET /v2/models[/{model}[/versions/{version}]]/stats: how many requests took how long."""
    name, version = request.params.get("model", ""), request.params.get("version")
    return json_reply({"model_stats": context.controlplane.repository.statistics(name, version)})


def index(context: AppContext, request: Request) -> Reply:
    """Answer POST /v2/repository/index: the registered versions and their states; with `ready`, those that serve."""
    return json_reply(
        context.controlplane.repository.index(ready=json_parameters(context, request).get("ready") is True)
    )


async def load(context: AppContext, request: Request) -> Reply:
    """Answer POST /v2/repository/models/{model}/load: register the archive of that name of the model store."""
    _check_allowed(context)
    given = json_parameters(context, request).get("parameters") or {}
    if not isinstance(given, dict) or given:
        raise BadRequest(
            "Loading takes no parameters here: configuration and files are the archive's, which the model store has."
        )
    await context.controlplane.repository.load(request.params["model"])
    return json_reply({})


async def unload(context: AppContext, request: Request) -> Reply:
    """Answer POST /v2/repository/models/{model}/unload: remove all versions of the model."""
    _check_allowed(context)
    await context.controlplane.repository.unload(request.params["model"])
    return json_reply({})


def _check_allowed(context: AppContext) -> None:
    if not context.model_api:
        raise MethodNotAllowed


def json_parameters(context: AppContext, request: Request) -> dict[str, object]:
    """Return the JSON object of a body of a few parameters, {} for none. Raises BadRequest, TooLarge."""
    size, most = len(request.body), context.limits.max_parameters
    if size > most:
        raise TooLarge(f"The JSON of a management request has {size} bytes and at most {most} are accepted.")
    if not request.body.strip():
        return {}
    try:
        found = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"Malformed JSON in body: {error}.") from None
    if not isinstance(found, dict):
        raise BadRequest("The JSON body must be an object of parameters.")
    return found
