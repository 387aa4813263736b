"""The endpoint of the metrics API: Prometheus text."""

from __future__ import annotations

import asyncio

from ...core.payload import Reply
from ..app_context import AppContext
from ..message.reply import PHRASES
from ..message.request import Request


async def read(context: AppContext, request: Request) -> Reply:
    """Answer with all metric families, or those that `name[]` names. A thread writes the text, as it may be long."""
    names = {name for name in request.query.get("name[]", ()) if name}
    return Reply(
        body=await asyncio.to_thread(context.metrics.render, names),
        phrase=PHRASES[200],
        content_type="text/plain; version=0.0.4; charset=utf-8",
    )
