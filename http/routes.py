"""Routes: the table of everything that is answered. A listener mounts the rows of its faces."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..core.errors import MethodNotAllowed, RouteNotFound
from ..core.payload import Reply
from . import inference, management, metrics
from .auth import Scope
from .request import Request, decode_segment
from .services import Services

Face: TypeAlias = Literal["inference", "management", "metrics"]
Endpoint: TypeAlias = Callable[[Services, Request], Reply | Awaitable[Reply]]

# The key that a face's routes ask for where tokens are on, unless a row says otherwise.
_FACE_SCOPE: dict[Face, Scope] = {"inference": "inference", "management": "management", "metrics": "open"}

ANY = ""  # TorchServe looks at the path only on these routes: every method works


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is made of literal segments, `{name}` for one segment and `{name...}`, last, for all that follow.

    Predictions have no endpoint here: predict.py answers them, before the table is asked.
    """

    face: Face
    method: str
    path: str
    endpoint: Endpoint | None
    summary: str
    own_scope: Scope | None = None

    @property
    def scope(self) -> Scope:
        """The key that is asked for where tokens are on."""
        return self.own_scope or _FACE_SCOPE[self.face]


ROUTES = (
    Route("inference", ANY, "/ping", inference.ping, "Whether the server is healthy", "open"),
    Route("inference", ANY, "/predictions/{model}", None, "Predict with the default version"),
    Route("inference", ANY, "/predictions/{model}/{version}", None, "Predict with a version"),
    Route("inference", ANY, "/predictions/{model}/{version}/{rest...}", None, "Predict; the rest is url_path"),
    Route("inference", ANY, "/explanations/{model}", None, "Explain with the default version"),
    Route("inference", ANY, "/explanations/{model}/{version}", None, "Explain with a version"),
    Route("inference", ANY, "/explanations/{model}/{version}/{rest...}", None, "Explain; the rest is url_path"),
    Route("management", "GET", "/models", management.list_models, "List the models"),
    Route("management", "POST", "/models", management.register, "Register a model"),
    Route("management", "GET", "/models/{model}", management.describe, "Describe the default version"),
    Route("management", "PUT", "/models/{model}", management.scale, "Scale the default version"),
    Route("management", "DELETE", "/models/{model}", management.unregister, "Remove the default version"),
    Route("management", "GET", "/models/{model}/{version}", management.describe, "Describe a version, or `all`"),
    Route("management", "PUT", "/models/{model}/{version}", management.scale, "Scale a version"),
    Route("management", "DELETE", "/models/{model}/{version}", management.unregister, "Remove a version"),
    Route("management", "PUT", "/models/{model}/{version}/set-default", management.set_default, "Choose the default"),
    Route("management", ANY, "/token", management.renew_token, "Make a new key", "token"),
    Route("metrics", ANY, "/metrics", metrics.read, "Metrics as Prometheus text"),
    Route("metrics", ANY, "/metrics/{rest...}", metrics.read, "Metrics as Prometheus text"),
)  # fmt: skip


class Table:
    """The routes of one listener."""

    def __init__(self, faces: Iterable[Face], routes: Iterable[Route] = ROUTES) -> None:
        chosen = set(faces)
        self._rows: dict[str, list[tuple[tuple[str, ...], Route]]] = {}
        for route in routes:
            if route.face in chosen:
                segments = tuple(route.path.strip("/").split("/"))
                self._rows.setdefault(segments[0], []).append((segments, route))
        self.scopes: frozenset[Scope] = frozenset(route.scope for rows in self._rows.values() for _, route in rows)

    def find(self, method: str, path: str) -> tuple[Endpoint, dict[str, str], Scope]:
        """The endpoint of a percent-encoded path, the path's decoded parameters, and the scope that is needed.

        A trailing slash is accepted.

        Raises RouteNotFound, MethodNotAllowed, BrokenEncoding.
        """
        segments = path.strip("/").split("/")
        known = False
        for pattern, route in self._rows.get(segments[0], ()):
            params = _match(pattern, segments)
            if params is None or route.endpoint is None:
                continue
            known = True
            if route.method in {ANY, method}:
                params = {name: decode_segment(value) for name, value in params.items()}
                return route.endpoint, params, route.scope
        if known or (segments == [""] and path.startswith("/")):
            raise MethodNotAllowed
        raise RouteNotFound


def _match(pattern: tuple[str, ...], segments: list[str]) -> dict[str, str] | None:
    params: dict[str, str] = {}
    for i, expected in enumerate(pattern):
        if expected.endswith("...}"):
            params[expected[1:-4]] = "/".join(segments[i:])
            return params if len(segments) > i else None
        if i >= len(segments):
            return None
        if expected.startswith("{"):
            params[expected[1:-1]] = segments[i]
        elif expected != segments[i]:
            return None
    return params if len(segments) == len(pattern) else None
