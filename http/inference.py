"""What the inference face answers itself; predictions are predict.py's."""

from __future__ import annotations

from ..core.payload import Reply
from .reply import json_reply
from .request import Request
from .services import Services


def ping(services: Services, _request: Request) -> Reply:
    """200 Healthy or 500 Unhealthy."""
    if services.controlplane.healthy():
        return json_reply({"status": "Healthy"})
    return json_reply({"status": "Unhealthy"}, 500)
