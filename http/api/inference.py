"""The endpoints of the inference API, without predictions, which are in http/predict."""

from __future__ import annotations

from ...core.payload import Reply
from ..app_context import AppContext
from ..message.reply import json_reply
from ..message.request import Request


def ping(context: AppContext, _request: Request) -> Reply:
    """Answer /ping: 200 Healthy, or 500 Unhealthy."""
    if context.controlplane.healthy():
        return json_reply({"status": "Healthy"})
    return json_reply({"status": "Unhealthy"}, 500)
