"""KServe's v1 protocol, beside predictions: whether the server is alive, the models, and whether one is ready."""

from __future__ import annotations

from ...core.payload import Reply
from ..app_context import AppContext
from ..message.reply import json_reply
from ..message.request import Request


def alive(_context: AppContext, _request: Request) -> Reply:
    """Answer GET /: KServe's client asks there whether the server is alive."""
    return json_reply({"status": "alive"})


def models(context: AppContext, _request: Request) -> Reply:
    """Answer GET /v1/models: the names of all models."""
    return json_reply({"models": context.controlplane.model_names()})


def model(context: AppContext, request: Request) -> Reply:
    """Answer GET /v1/models/{model}: whether its default version has its workers."""
    name = request.params["model"]
    return json_reply({"name": name, "ready": context.controlplane.ready(name)})
