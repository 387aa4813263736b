"""What the inference face answers itself; predictions are predict.py's."""

from __future__ import annotations

from ..core.errors import BadRequest
from ..core.payload import Reply
from .reply import json_reply
from .request import Request
from .services import Services


def ping(services: Services, _request: Request) -> Reply:
    """200 Healthy or 500 Unhealthy."""
    if services.controlplane.healthy():
        return json_reply({"status": "Healthy"})
    return json_reply({"status": "Unhealthy"}, 500)


def only_model(services: Services) -> str:
    """The model of a request that names none: the only one loaded at start. Raises BadRequest."""
    name = services.dataplane.startup_model()
    if name is None:
        raise BadRequest("Parameter model_name is required.")
    return name
