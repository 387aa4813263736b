"""Routes: the table of everything that is answered. A listener mounts the rows of its faces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TypeAlias

from ..core.errors import MethodNotAllowed, RouteNotFound
from . import health, inference, management, metrics, openapi
from . import operations as docs
from .auth import Scope
from .request import check_percent, decode_segment
from .route import ANY, FACES, Ask, DocumentOf, Endpoint, Face, Route

_PREDICT = Ask("False", url_path=True)
_EXPLAIN = Ask("True", url_path=True)
_KSERVE_PREDICT = Ask("False")
_KSERVE_EXPLAIN = Ask("True")
_SAGEMAKER = Ask(query=True)
_SERVER = DocumentOf(openapi.server)
_MODEL = DocumentOf(openapi.model)
_PREDICTIONS = DocumentOf(openapi.predictions)

ROUTES = (
    *(Route(face, "OPTIONS", "/", _SERVER, docs.SERVER, "open") for face in FACES),
    *(Route(face, "GET", "/api-description", _SERVER, docs.SERVER_OLD, "open") for face in FACES),
    Route("inference", ANY, "/ping", inference.ping, docs.PING, "open"),
    Route("inference", ANY, "/health/live", health.live, docs.LIVE, "open"),
    Route("inference", ANY, "/health/ready", health.ready, docs.READY, "open"),
    Route("inference", ANY, "/predictions/{model}", _PREDICT, docs.PREDICT),
    Route("inference", ANY, "/predictions/{model}/{version}", _PREDICT, docs.PREDICT.of_version),
    Route("inference", ANY, "/predictions/{model}/{version}/{rest...}", _PREDICT, docs.PREDICT_REST),
    Route("inference", ANY, "/explanations/{model}", _EXPLAIN, docs.EXPLAIN),
    Route("inference", ANY, "/explanations/{model}/{version}", _EXPLAIN, docs.EXPLAIN.of_version),
    Route("inference", ANY, "/explanations/{model}/{version}/{rest...}", _EXPLAIN, docs.EXPLAIN_REST),
    Route("inference", ANY, "/v1/models/{model}:predict", _KSERVE_PREDICT, docs.KSERVE_PREDICT),
    Route("inference", ANY, "/v1/models/{model}:explain", _KSERVE_EXPLAIN, docs.KSERVE_EXPLAIN),
    Route("inference", ANY, "/v2/models/{model}/infer", _KSERVE_PREDICT, docs.KSERVE_INFER),
    Route("inference", ANY, "/v2/models/{model}/explain", _KSERVE_EXPLAIN, docs.KSERVE_V2_EXPLAIN),
    Route("inference", ANY, "/invocations", _SAGEMAKER, docs.INVOCATIONS),
    Route("inference", ANY, "/models/{model}/invoke", _SAGEMAKER, docs.INVOKE),
    Route("inference", ANY, "/{model}/predict", _SAGEMAKER, docs.LEGACY_PREDICT),
    Route("inference", ANY, "/{model}/{version}/predict", _SAGEMAKER, docs.LEGACY_PREDICT.of_version),
    Route("management", "GET", "/v1/models", health.models, docs.KSERVE_MODELS),
    Route("management", "GET", "/v1/models/{model}", health.model, docs.KSERVE_READY),
    Route("management", "GET", "/models", management.list_models, docs.LIST),
    Route("management", "POST", "/models", management.register, docs.REGISTER),
    Route("management", "GET", "/models/{model}", management.describe, docs.DESCRIBE),
    Route("management", "PUT", "/models/{model}", management.scale, docs.SCALE),
    Route("management", "DELETE", "/models/{model}", management.unregister, docs.UNREGISTER),
    Route("management", "OPTIONS", "/models/{model}", _MODEL, docs.MODEL),
    Route("management", "GET", "/models/{model}/{version}", management.describe, docs.DESCRIBE.of_version),
    Route("management", "PUT", "/models/{model}/{version}", management.scale, docs.SCALE.of_version),
    Route("management", "DELETE", "/models/{model}/{version}", management.unregister, docs.UNREGISTER.of_version),
    Route("management", "OPTIONS", "/models/{model}/{version}", _MODEL, docs.MODEL.of_version),
    Route("management", "PUT", "/models/{model}/{version}/set-default", management.set_default, docs.SET_DEFAULT),
    Route("management", "GET", "/downloads", management.downloads, docs.DOWNLOADS),
    Route("management", ANY, "/token", management.renew_token, docs.TOKEN, "token"),
    Route("metrics", ANY, "/metrics", metrics.read, docs.METRICS),
    Route("metrics", ANY, "/metrics/{rest...}", metrics.read, docs.METRICS.named("metrics_rest", "The same.")),
)  # fmt: skip


class Table:
    """The routes of one listener."""

    def __init__(self, faces: Iterable[Face], routes: Iterable[Route] = ROUTES) -> None:
        chosen = set(faces)
        self.routes = tuple(route for route in routes if route.face in chosen)
        self.scopes: frozenset[Scope] = frozenset(route.scope for route in self.routes)
        # Whose rules what is in no row goes by: predictions are the only ones that foreign pages may be let to.
        self.strictest: Face = min(chosen, key=lambda face: face == "inference")
        self._rows = _by_first_segment(self.routes)

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str], Route]:
        """The endpoint of a percent-encoded path, the path's decoded parameters, and their row.

        A trailing slash is accepted.

        A prediction's path is here for OPTIONS alone, which asks how to predict.
        Raises RouteNotFound, MethodNotAllowed, BrokenEncoding.
        """
        check_percent(path)
        known = False
        for route, found in _matches(self._rows, path):
            answer = route.answer
            if isinstance(answer, Ask):
                if method != "OPTIONS":
                    continue
                answer = _PREDICTIONS
            known = True
            if route.method in {ANY, method}:
                if isinstance(answer, DocumentOf):
                    answer = partial(answer.make, self.routes)
                params = {name: decode_segment(value) for name, value in found.groupdict().items()}
                return answer, params, route
        if known:
            raise MethodNotAllowed
        raise RouteNotFound


def match_prediction(path: str) -> tuple[Ask, dict[str, str]] | None:
    """What kind of prediction a percent-encoded path asks for, and its parameters, not decoded. None: it is none."""
    for route, found in _matches(_ROWS, path):
        if isinstance(route.answer, Ask):
            return route.answer, found.groupdict()
    return None


_Rows: TypeAlias = "dict[str, list[tuple[re.Pattern[str], Route]]]"


def _by_first_segment(routes: Iterable[Route]) -> _Rows:
    """Rows that begin with a parameter are filed under ""."""
    rows: _Rows = {}
    for route in routes:
        first = route.path.split("/", 2)[1]
        rows.setdefault("" if first.startswith("{") else first, []).append((_pattern(route.path), route))
    return rows


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)(\.\.\.)?\}|([^{]+)", _expression, path))


def _expression(piece: re.Match[str]) -> str:
    name, rest, literal = piece.groups()
    if literal:
        return re.escape(literal).replace(":", "(?::|%3[Aa])")
    return f"(?P<{name}>{'.+' if rest else '[^/]+'})"


def _matches(rows: _Rows, path: str) -> Iterator[tuple[Route, re.Match[str]]]:
    path = path.rstrip("/") or "/"
    first = path[1:].partition("/")[0]
    for pattern, route in rows.get(first) or rows.get("", ()):
        found = pattern.fullmatch(path)
        if found is not None:
            yield route, found


_ROWS = _by_first_segment(ROUTES)
