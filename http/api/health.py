"""Whether the server and its models can serve, for Kubernetes' probes. TorchServe's `/ping` is in inference.py."""

from __future__ import annotations

from ...core.payload import Reply
from ..app_context import AppContext
from ..message.reply import json_reply
from ..message.request import Request


def live(_context: AppContext, _request: Request) -> Reply:
    """GET /health/live: a server that answers is alive."""
    return json_reply({"live": True})


def ready(context: AppContext, _request: Request) -> Reply:
    """GET /health/ready: 200, or 503 with what is missing."""
    missing = context.controlplane.missing()
    if missing:
        return json_reply({"ready": False, "missing": missing}, 503)
    return json_reply({"ready": True})
