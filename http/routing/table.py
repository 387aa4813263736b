"""Table: finds the row that answers a request, by method and path."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TypeAlias

from ...core.errors import MethodNotAllowed, RouteNotFound
from ...core.payload import Reply
from ..auth import Scope
from ..message.errors import error_reply, oip_error
from ..message.request import check_percent, decode_segment
from .route import ANY, Api, DocumentOf, Endpoint, PredictRoute, Route

Match: TypeAlias = "tuple[Route, re.Match[str]]"  # a row, and what its expression has found in a path


class Table:
    """The rows of one listener, and the matcher that finds one by method and path."""

    def __init__(self, apis: Iterable[Api], routes: Iterable[Route]) -> None:
        chosen = set(apis)
        self.routes = tuple(route for route in routes if route.api in chosen)
        self.scopes: frozenset[Scope] = frozenset(route.scope for route in self.routes)
        # Whose rules what is in no row goes by: predictions are the only ones that foreign pages may be let to.
        self.strictest: Api = min(chosen, key=lambda api: api == "inference")
        self._open_inference = any(route.path.startswith("/v2/repository/") for route in self.routes)
        self._rows = _by_first_segment(self.routes)

    def look_up(self, path: str) -> list[Match]:
        """Return the rows that a percent-encoded path matches. A trailing slash is accepted."""
        return list(_matches(self._rows, path))

    def find(self, method: str, path: str, matches: list[Match]) -> tuple[Endpoint, dict[str, str], Route]:
        """Return the endpoint among the matches of `path`, the path's decoded parameters, and their row.

        A prediction's path is found for OPTIONS alone, which asks how to predict. Raises RouteNotFound,
        MethodNotAllowed, BrokenEncoding.
        """
        check_percent(path)
        known = False
        for route, found in matches:
            answer = route.answer
            if isinstance(answer, PredictRoute):
                if method != "OPTIONS":
                    continue
                answer = answer.document
            known = True
            if route.method in {ANY, method}:
                if isinstance(answer, DocumentOf):
                    answer = partial(answer.make, self.routes)
                params = {name: decode_segment(value) for name, value in found.groupdict().items()}
                return answer, params, route
        if known:
            raise MethodNotAllowed
        raise RouteNotFound

    def error_reply(self, path: str, error: BaseException) -> Reply:
        """Return the answer to a request of `path` that failed, as its protocol has it."""
        return oip_error(error) if self._open_inference and f"{path}/".startswith("/v2/") else error_reply(error)

    def find_prediction(self, path: str) -> tuple[PredictRoute, dict[str, str]] | None:
        """Return the route of a prediction's percent-encoded path and its parameters, not decoded; or None."""
        return prediction_among(_matches(self._rows, path))


def prediction_among(matches: Iterable[Match]) -> tuple[PredictRoute, dict[str, str]] | None:
    """Return the first prediction's route among the matches of a path, and its parameters, not decoded; or None."""
    for route, found in matches:
        if isinstance(route.answer, PredictRoute):
            return route.answer, found.groupdict()
    return None


_Rows: TypeAlias = "dict[str, list[tuple[re.Pattern[str], Route]]]"


def _by_first_segment(routes: Iterable[Route]) -> _Rows:
    """File rows by the first segment of their path, those that begin with a parameter under ""."""
    rows: _Rows = {}
    for route in routes:
        first = route.path.split("/", 2)[1]
        if isinstance(route.answer, PredictRoute):
            route = replace(route, answer=replace(route.answer, path=route.path))  # noqa: PLW2901
        rows.setdefault("" if first.startswith("{") else first, []).append((_pattern(route.path), route))
    return rows


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)(\.\.\.)?\}|([^{]+)", _expression, path))


def _expression(piece: re.Match[str]) -> str:
    name, rest, literal = piece.groups()
    if literal:
        return re.escape(literal).replace(":", "(?::|%3[Aa])")
    return f"(?P<{name}>{'.+' if rest else '[^/]+'})"


def _matches(rows: _Rows, path: str) -> Iterator[Match]:
    path = path.rstrip("/") or "/"
    first = path[1:].partition("/")[0]
    for pattern, route in rows.get(first) or rows.get("") or ():
        found = pattern.fullmatch(path)
        if found is not None:
            yield route, found
