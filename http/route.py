"""Route: one row of the table of everything that is answered, and what an answer may be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ..core.payload import Reply
from .auth import Scope
from .operations import Operation
from .request import Request
from .services import Services

Face: TypeAlias = Literal["inference", "management", "metrics"]
Endpoint: TypeAlias = Callable[[Services, Request], Reply | Awaitable[Reply]]

FACES: tuple[Face, ...] = ("inference", "management", "metrics")
# The key that a face's routes ask for where tokens are on, unless a row says otherwise.
_FACE_SCOPE: dict[Face, Scope] = {"inference": "inference", "management": "management", "metrics": "open"}

ANY = ""  # TorchServe looks at the path only on these routes: every method works


@dataclass(frozen=True, slots=True)
class Ask:
    """What a prediction route adds to a request: the headers `explain` (if not "") and `url_path`, and as rows of the
    handler's input the parameters of the query. These differ per route, as in TorchServe.
    """

    explain: str = ""
    url_path: bool = False
    query: bool = False


@dataclass(frozen=True, slots=True)
class DocumentOf:
    """An OpenAPI document: `make` is called with all routes of the listener that was asked, and the request."""

    make: Callable[[Sequence[Route], Services, Request], Reply]


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is literal text, `{name}` for one segment or a part of it, and `{name...}`, last, for all that follow.

    A row with an Ask is a prediction, which predict.py answers before the table is asked, unless the method is OPTIONS.
    `operation` is what the OpenAPI documents say of the row.
    """

    face: Face
    method: str
    path: str
    answer: Endpoint | Ask | DocumentOf
    operation: Operation
    own_scope: Scope | None = None

    @property
    def scope(self) -> Scope:
        """The key that is asked for where tokens are on."""
        return self.own_scope or _FACE_SCOPE[self.face]
