"""The endpoint of the metrics API: Prometheus text."""

from __future__ import annotations

import asyncio

from ...core.payload import Reply
from ..app_context import AppContext
from ..message.reply import PHRASES
from ..message.request import Head, Request

_OPEN_METRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


async def read(context: AppContext, request: Request) -> Reply:
    """Answer with all metric families, or those that `name[]` names. A thread writes the text, as it may be long.

    Where requests are recorded, OpenMetrics is answered to those that ask for it, with the traces of some requests.
    Elsewhere it would have nothing more to tell.
    """
    context.metrics.settle()
    names = {name for name in request.query.get("name[]", ()) if name}
    open_metrics = context.tracer is not None and request.head is not None and _wants_open_metrics(request.head)
    render = context.metrics.render_open if open_metrics else context.metrics.render
    return Reply(
        body=await asyncio.to_thread(render, names),
        phrase=PHRASES[200],
        content_type=_OPEN_METRICS if open_metrics else "text/plain; version=0.0.4; charset=utf-8",
    )


def _wants_open_metrics(head: Head) -> bool:
    accepted = b",".join([value for name, value in head.raw_headers if name.lower() == b"accept"]).lower()
    return any(each.partition(b";")[0].strip() == b"application/openmetrics-text" for each in accepted.split(b","))
