"""Router: finds what answers a request of a listener, and whether the request may have it, for every protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping

from ...core.errors import ServeError
from ...core.payload import Reply
from ..app_context import AppContext
from ..cors import is_preflight, preflight
from ..message.reply import PLAIN
from ..message.request import Head
from ..predict.predict_request import PredictRequest, read_request
from ..site_policy import Reach
from .route import Endpoint
from .table import Match, Table, prediction_among


class Router:
    """The rows of a listener that `reach` can connect to, and the management work that was begun by them."""

    def __init__(self, context: AppContext, table: Table, reach: Reach) -> None:
        self.context = context
        self.table = table
        self.reach: Reach = reach
        self._work: set[asyncio.Future[Reply]] = set()

    def look_up(self, head: Head) -> PredictRequest | list[Match]:
        """Return what a head asks for if it is a prediction's, else the rows among which `find` finds its endpoint."""
        matches = self.table.look_up(head.path())
        found = prediction_among(matches) if head.method != "OPTIONS" else None
        if found is None:
            return matches
        route, params = found
        return read_request(self.context, head, self.reach, route, params)

    def find(self, head: Head, fields: Mapping[str, str], matches: list[Match]) -> tuple[Endpoint, dict[str, str]]:
        """Return the endpoint of a request that is no prediction, and its path's parameters.

        `matches` are what `look_up` has returned. Raises RouteNotFound, MethodNotAllowed, BrokenEncoding, ForeignSite,
        InvalidKey.
        """
        context = self.context
        if head.method == "OPTIONS" and context.default_headers is not PLAIN and is_preflight(fields):
            return preflight, {}
        token_auth = context.token_auth
        try:
            endpoint, params, route = self.table.find(head.method, head.path(), matches)
        except ServeError:
            context.admit(head, self.table.strictest, self.reach)
            if token_auth is not None:
                token_auth.check_any(self.table.scopes, fields)
            raise
        context.admit(head, route.site_api, self.reach)
        if token_auth is not None:
            token_auth.check(route.scope, fields)
        return endpoint, params

    def error_reply(self, head: Head, error: BaseException) -> Reply:
        """Return the answer to a request that is no prediction and failed."""
        return self.table.error_reply(head.path(), error)

    @property
    def working(self) -> int:
        """Management work that goes on although its client has left."""
        return len(self._work)

    def begin(self, work: Awaitable[Reply]) -> asyncio.Future[Reply]:
        """Begin management work, which goes on when its client leaves.

        Half a registration would be worse than one nobody reads of.
        """
        task = asyncio.ensure_future(work)
        self._work.add(task)
        task.add_done_callback(self._worked)
        return task

    def _worked(self, task: asyncio.Future[Reply]) -> None:
        self._work.discard(task)
        if not task.cancelled():
            _ = task.exception()  # looked at, so that asyncio does not report it when the client has left
