"""Route: one row of the table of everything that is answered, and what an answer may be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...core.payload import Reply
from ..app_context import AppContext
from ..auth import Scope
from ..message.live import LiveReply
from ..message.request import Request
from ..predict.codecs.codec import Codec
from .operation import Operation

Api: TypeAlias = Literal["inference", "management", "metrics"]
# Whether the Open Inference Protocol is spoken; `enveloped` where a service_envelope has handlers read its JSON.
OpenInference: TypeAlias = Literal["on", "enveloped", "off"]
Endpoint: TypeAlias = Callable[[AppContext, Request], Reply | LiveReply | Awaitable[Reply]]

APIS: tuple[Api, ...] = ("inference", "management", "metrics")
# The key that a api's routes ask for where tokens are on, unless a row says otherwise.
_API_SCOPE: dict[Api, Scope] = {"inference": "inference", "management": "management", "metrics": "open"}

ANY = ""  # TorchServe looks at the path only on these routes: every method works


@dataclass(frozen=True, slots=True)
class DocumentOf:
    """An OpenAPI document: `make` is called with all routes of the listener that was asked, and the request."""

    make: Callable[[Sequence[Route], AppContext, Request], Reply]


@dataclass(frozen=True, slots=True)
class PredictRoute:
    """A prediction: `codec` reads the request and writes the answer, `document` tells OPTIONS how to predict.

    `fast` rows may be read by the fast HTTP path, whose expression is built from them. `path` is that of the row, which
    the table fills in. With `websocket` a handshake makes a WebSocket of the connection, whose messages are requests.
    """

    codec: Codec
    document: DocumentOf
    fast: bool = True
    path: str = ""
    websocket: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """A row of the table.

    `path` is literal text, `{name}` for one segment or a part of it, and `{name...}`, last, for all that follow.

    `operation` is what the OpenAPI documents say of the row. `own_site_api` is the API by whose rules web pages may
    call it, if that isn't its own.
    """

    api: Api
    method: str
    path: str
    answer: Endpoint | PredictRoute | DocumentOf
    operation: Operation
    own_scope: Scope | None = None
    own_site_api: Api | None = None

    @property
    def scope(self) -> Scope:
        """The key that is asked for where tokens are on."""
        return self.own_scope or _API_SCOPE[self.api]

    @property
    def commands_elsewhere(self) -> bool:
        """Whether the row commands as the management API does, and is not of that API."""
        return self.own_scope == "management" and self.api != "management"

    @property
    def site_api(self) -> str:
        """The API whose rules of the site policy hold for this row: `public` if it tells nobody anything of worth."""
        if self.own_site_api is not None:
            return self.own_site_api
        if self.commands_elsewhere:
            return "management"
        return "public" if self.api == "inference" and self.own_scope == "open" else self.api
