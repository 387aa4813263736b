"""Whether the server and its models can serve, told truthfully: for Kubernetes' probes and KServe's clients.

TorchServe's own word on it, `/ping`, is inference.py's.
"""

from __future__ import annotations

from ...core.payload import Reply
from ..app_context import AppContext
from ..message.reply import json_reply
from ..message.request import Request


def live(_context: AppContext, _request: Request) -> Reply:
    """GET /health/live: who can answer this is alive."""
    return json_reply({"live": True})


def ready(context: AppContext, _request: Request) -> Reply:
    """GET /health/ready: 200, or 503 with what is missing."""
    missing = context.controlplane.missing()
    if missing:
        return json_reply({"ready": False, "missing": missing}, 503)
    return json_reply({"ready": True})


def models(context: AppContext, _request: Request) -> Reply:
    """GET /v1/models."""
    return json_reply({"models": context.controlplane.model_names()})


def model(context: AppContext, request: Request) -> Reply:
    """GET /v1/models/{model}."""
    name = request.params["model"]
    return json_reply({"name": name, "ready": context.controlplane.ready(name)})
