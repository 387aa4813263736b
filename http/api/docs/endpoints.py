"""The endpoints of the API's pages. They hold nothing but what GET /api-description tells everybody as well."""

from __future__ import annotations

from pathlib import Path

from ....core.payload import Reply
from ...app_context import AppContext
from ...message.page_headers import page_headers
from ...message.request import Request
from ...openapi.grpc_services import PROTOS
from ...page_files import file_reply, without_slash

_FOLDER = Path(__file__).parent
FILES = {
    **{name: _FOLDER / name for name in ("index.html", "docs.css", "docs.js")},
    **{name: _FOLDER / "vendor" / name for name in ("swagger-ui-bundle.js", "swagger-ui.css", "LICENSE.txt")},
    **PROTOS,
}
# Swagger UI draws with React, which sets styles of elements by itself; its own sheet has no inline styles.
_PAGE = page_headers()


async def page(_context: AppContext, request: Request) -> Reply:
    """Answer GET /docs."""
    return without_slash(request, "docs") or await file_reply(FILES, "index.html", _PAGE)


async def file(_context: AppContext, request: Request) -> Reply:
    """Answer GET /docs/{file}."""
    return await file_reply(FILES, request.params["file"], _PAGE)
