"""Files of pages: reads one that a page is made of, off the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from ..core.errors import RouteNotFound
from ..core.payload import Reply
from .message.reply import PHRASES
from .message.request import Request

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".proto": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}


async def file_reply(files: Mapping[str, Path], name: str, headers: tuple[tuple[str, str], ...]) -> Reply:
    """Return the file that is called `name` in `files`. Raises RouteNotFound."""
    path = files.get(name)
    if path is None:
        raise RouteNotFound
    body = await asyncio.to_thread(path.read_bytes)
    return Reply(body=body, phrase=PHRASES[200], content_type=_TYPES[path.suffix], headers=headers)


def without_slash(request: Request, page: str) -> Reply | None:
    """Return a redirection of `/page/` to `/page`, against which the page's own addresses are resolved, else None."""
    head = request.head
    if head is None or not head.path().endswith("/"):
        return None
    return Reply(body=b"", status=308, phrase=PHRASES[308], headers=(("Location", f"../{page}"),))
