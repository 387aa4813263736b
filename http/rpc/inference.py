"""TorchServe's inference service beside predictions: Ping."""

from __future__ import annotations

from typing import Any

from ...core.payload import Reply
from ..api.inference import ping as http_ping
from ..app_context import AppContext
from ..message.request import Request
from .protos.messages import Message, message

SERVICE = "org.pytorch.serve.grpc.inference.InferenceAPIsService"

_Health = message("org.pytorch.serve.grpc.inference.TorchServeHealthResponse")
_PING = Request("GET", {}, {})


def ping(context: AppContext, _request: Any) -> Message:
    """Answer Ping with the JSON of GET /ping."""
    reply: Reply = http_ping(context, _PING)
    return _Health(health=bytes(reply.body).decode().rstrip("\n"))
