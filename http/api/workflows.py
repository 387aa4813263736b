"""The endpoints of workflows in the management API: a query or JSON -> a call of Workflows -> TorchServe's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import BadRequest, RouteNotFound
from ...core.payload import Reply
from ..app_context import AppContext
from ..message.reply import json_reply
from ..message.request import Request
from .management import check_allowed, outcome_reply, page_of, parameters

if TYPE_CHECKING:
    from ...core.workflows.registry import Workflows


async def register(context: AppContext, request: Request) -> Reply:
    """Answer POST /workflows: register a workflow."""
    check_allowed(context)
    given = parameters(context, request)
    if "url" not in given:
        raise BadRequest("Parameter url is required.")
    return outcome_reply(await _of(context).register(given["url"], given.get("workflow_name") or None))


async def unregister(context: AppContext, request: Request) -> Reply:
    """Answer DELETE /workflows/{workflow}: remove a workflow."""
    check_allowed(context)
    return outcome_reply(await _of(context).unregister(request.params["workflow"]))


def describe(context: AppContext, request: Request) -> Reply:
    """Answer GET /workflows/{workflow}: describe a workflow."""
    return json_reply(_of(context).describe(request.params["workflow"]))


def list_workflows(context: AppContext, request: Request) -> Reply:
    """Answer GET /workflows: list the workflows in pages, as models are listed."""
    return json_reply(_of(context).list(*page_of(request)))


def _of(context: AppContext) -> Workflows:
    if context.workflows is None:
        raise RouteNotFound
    return context.workflows
