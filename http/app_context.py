"""AppContext: what every route may use. `AppContext.answered` counts and logs each answered request."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING

from ..core.errors import BadRequest, ForeignSite
from ..core.oip.regions import Regions
from .accesslog import Entry, entry
from .auth import TokenAuth
from .board import Board
from .message.limits import Limits
from .message.reply import PLAIN, DefaultHeaders
from .message.request import Head
from .message.sequence_headers import SequenceHeaders
from .message.unsent_answers import UnsentLimit
from .refusal_log import Refusals
from .site_policy import Reach, SitePolicy

if TYPE_CHECKING:
    from ..core.controlplane import ControlPlane
    from ..core.dataplane import DataPlane
    from ..core.metrics.store import MetricStore
    from ..core.tracing.tracer import Tracer
    from ..core.workflows.registry import Workflows


@dataclass(slots=True)
class AppContext:
    """The planes, settings and policies that every route may use.

    `access` gets one Entry per request and must not block. `decode_input` is the setting decode_input_request,
    `scheduling_headers` that of its name. Without `model_api` nothing can be registered or removed, without
    `token_auth` no key is needed; `sites` says which web pages may call. Clients' tensors may lie in `regions` of
    shared memory, if there are any: at listeners that other machines can't reach, with `regions_everywhere` at all.
    While `draining` every connection closes behind its answer. Without `board` there is no dashboard. `workflows` are
    those of the server, if it has any. With a `tracer` predictions are recorded. `grpc` says whether gRPC is served.
    `sequence_headers` name the sequence of a WebSocket.
    """

    dataplane: DataPlane
    controlplane: ControlPlane
    metrics: MetricStore
    access: Callable[[Entry], None]
    limits: Limits = field(default_factory=Limits)
    decode_input: bool = True
    scheduling_headers: bool = False
    model_api: bool = True
    token_auth: TokenAuth | None = None
    default_headers: DefaultHeaders = PLAIN
    sites: SitePolicy = SitePolicy()
    regions: Regions | None = None
    regions_everywhere: bool = False
    draining: bool = False
    board: Board | None = None
    workflows: Workflows | None = None
    tracer: Tracer | None = None
    grpc: bool = False
    sequence_headers: SequenceHeaders = SequenceHeaders()
    unsent: UnsentLimit = field(init=False)
    _refusals: Refusals = field(default_factory=Refusals)

    def __post_init__(self) -> None:
        self.unsent = UnsentLimit(self.limits)

    def admit(self, head: Head, api: str, reach: Reach) -> None:
        """Raise ForeignSite, and log it, if a web page that may not call the API `api` may be behind this head."""
        try:
            self.sites.check(head, api, reach)
        except ForeignSite as error:
            self._refusals.note(head.peer, error)
            raise

    def regions_at(self, reach: Reach) -> Regions | None:
        """Return the regions of shared memory for the clients of a listener that `reach` can reach, None for none."""
        return self.regions if reach != "network" or self.regions_everywhere else None

    def only_model(self) -> str:
        """Return the model of a request that names none: the only one loaded at start. Raises BadRequest."""
        name = self.dataplane.startup_model()
        if name is None:
            raise BadRequest("Parameter model_name is required.")
        return name

    def answered(self, head: Head, status: int, took: float = 0.0, request_id: str = "", trace_id: str = "") -> None:
        """Count and log a request that was answered `took` seconds after its head was read.

        `request_id` is the answer's x-request-id, `trace_id` that of a request that is recorded.
        """
        self.metrics.request(status)
        self.access(
            entry((time(), head.peer, head.method, head.target, status, took, head.version, request_id, trace_id))
        )

    def called(self, call: str, peer: object, code: int, status: int, took: float, ids: tuple[str, str]) -> None:
        """Count and log a gRPC call that ended with `code`, `took` seconds after its head was read.

        `call` is its path without the first slash, and `status` the HTTP status that it is counted under. `ids` are
        those of the request and, if it is recorded, of its trace.
        """
        self.metrics.request(status)
        self.access(entry((time(), peer, "gRPC", call, code, took, "2.0", *ids)))
