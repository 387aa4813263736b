"""OpenAI's list of models, on the inference API; each answer has the fields of KServe's v1 protocol as well."""

from __future__ import annotations

from typing import Any

from ...core.payload import Reply
from ...core.version import __version__
from ..app_context import AppContext
from ..message.reply import json_reply
from ..message.request import Request


def models(context: AppContext, _request: Request) -> Reply:
    """Answer GET /v1/models: the names of all models, and the aliases of those with an engine of their own."""
    names = context.controlplane.model_names()
    aliases = context.dataplane.aliases()
    data = [_entry(context, name) for name in names]
    data += [_entry(context, name, alias) for alias, name in aliases.items()]
    return json_reply({"models": names, "object": "list", "data": data})


def model(context: AppContext, request: Request) -> Reply:
    """Answer GET /v1/models/{model}: 200 if its default version has its workers, else 503, as a readiness probe asks.

    Raises ModelNotFound.
    """
    asked = request.params["model"]
    name = context.dataplane.aliases().get(asked, asked)
    ready = context.controlplane.ready(name)
    entry = _entry(context, name, asked if asked != name else "")
    return json_reply({"name": asked, "ready": ready, **entry}, 200 if ready else 503)


def _entry(context: AppContext, name: str, alias: str = "") -> dict[str, Any]:
    created = int(context.controlplane.registered_at(name))
    entry = {"id": alias or name, "object": "model", "created": created, "owned_by": f"torchserve-{__version__}"}
    return {**entry, "parent": name} if alias else entry
