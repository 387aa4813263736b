"""The endpoints of the dashboard: its page and files, which need no key as they tell nothing, and its live state."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ....core.errors import RouteNotFound
from ....core.payload import Reply
from ...app_context import AppContext
from ...board import Board
from ...message.live import LiveReply
from ...message.page_headers import page_headers
from ...message.reply import json_reply
from ...message.request import Request, by_lower_name
from ...page_files import file_reply, without_slash

_FOLDER = Path(__file__).parent
_NAMES = (
    "index.html", "dashboard.css", "main.js", "state.js", "table.js", "detail.js", "draw.js", "actions.js", "try.js",
    "stream.js", "workflows.js", "icon.svg",
)  # fmt: skip
FILES = {name: _FOLDER / name for name in _NAMES}
_PAGE = page_headers()


async def page(_context: AppContext, request: Request) -> Reply:
    """Answer GET /dashboard."""
    return without_slash(request, "dashboard") or await file_reply(FILES, "index.html", _PAGE)


async def file(_context: AppContext, request: Request) -> Reply:
    """Answer GET /dashboard/{file}."""
    return await file_reply(FILES, request.params["file"], _PAGE)


def events(context: AppContext, request: Request, *, log: bool = True) -> LiveReply:
    """Answer GET /dashboard/events: the state of the server, and its changes, as server-sent events."""
    board, token_auth = _board(context), context.token_auth
    note = {"register": context.model_api, "keys": token_auth is not None, "log": log, "settings": log}
    fields = by_lower_name(request.head.headers()) if request.head is not None else {}
    check = partial(token_auth.check, "management", fields) if token_auth is not None else _nothing
    return board.admit(check, log=log, note=note)


def model(context: AppContext, request: Request) -> Reply:
    """Answer GET /dashboard/models/{model}/{version}: all that is known of a version."""
    return json_reply(_board(context).overview.detail(request.params["model"], request.params["version"]))


def settings(context: AppContext, _request: Request) -> Reply:
    """Answer GET /dashboard/settings: the configuration, and where each value comes from; without secrets."""
    return json_reply(_board(context).overview.settings())


def _nothing() -> None:
    """Ask for no key."""


def _board(context: AppContext) -> Board:
    if context.board is None:
        raise RouteNotFound
    return context.board
