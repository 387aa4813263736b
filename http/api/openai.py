"""OpenAI's list of models, on the inference API; each answer has the fields of KServe's v1 protocol as well."""

from __future__ import annotations

from typing import Any

from ...core.payload import Reply
from ...core.version import __version__
from ..app_context import AppContext
from ..message.reply import json_reply
from ..message.request import Request


def models(context: AppContext, _request: Request) -> Reply:
    """Answer GET /v1/models: the names of all models."""
    names = context.controlplane.model_names()
    return json_reply({"models": names, "object": "list", "data": [_entry(context, name) for name in names]})


def model(context: AppContext, request: Request) -> Reply:
    """Answer GET /v1/models/{model}: 200 if its default version has its workers, else 503, as a readiness probe asks.

    Raises ModelNotFound.
    """
    name = request.params["model"]
    ready = context.controlplane.ready(name)
    return json_reply({"name": name, "ready": ready, **_entry(context, name)}, 200 if ready else 503)


def _entry(context: AppContext, name: str) -> dict[str, Any]:
    created = int(context.controlplane.registered_at(name))
    return {"id": name, "object": "model", "created": created, "owned_by": f"torchserve-{__version__}"}
