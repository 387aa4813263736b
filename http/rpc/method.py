"""A row of the table, `Method`; what a call says, `CallHead`; what serves it, `Exchange`, and sees, `OpenCall`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from ...core.payload import Body
from ...core.tracing.trace_parent import TraceParent
from ..app_context import AppContext
from ..auth import Scope
from .status import OK, Status

RpcApi: TypeAlias = Literal["inference", "management"]
RPC_APIS: tuple[RpcApi, ...] = ("inference", "management")


class Exchange(Protocol):
    """An interface for what serves one call. It answers by `Answering.send`, `finish` and `fail`, now or later.

    What `message` raises ends the call, as `fail` does.
    """

    def message(self, data: Body) -> None:
        """Take the next message of the client, which stays valid for as long as it is kept."""

    def half_closed(self) -> None:
        """Note that the client sends no further message. Of a unary method exactly one has come."""

    def cancelled(self) -> None:
        """Give up: the client has gone, or the call's deadline has passed. Nothing can be sent any more."""

    def writable(self) -> None:
        """Note that the client has room again, after `full` was True."""


class OpenCall(Protocol):
    """An interface for a call as its Exchange sees it. `id` is the request's, `over` says that the call has ended.

    `peer` is the client: a Peer where the server doesn't talk to a test. An Exchange may set `trace_id`, which is
    logged, and `answer_fields`, which go out with the status.
    """

    context: AppContext
    id: str
    over: bool
    trace_id: str
    answer_fields: tuple[tuple[str, str], ...]

    @property
    def peer(self) -> object: ...

    @property
    def head(self) -> CallHead: ...

    @property
    def full(self) -> bool:
        """Whether the client has more to take than a streamed answer may be ahead of it."""
        ...

    @property
    def draining(self) -> bool:
        """Whether the server stops: a call that could go on for ever should end soon."""
        ...

    def send(self, buffers: tuple[Body, ...]) -> None:
        """Send a message, in pieces that are not copied."""

    def answer(self, buffers: tuple[Body, ...]) -> None:
        """Send the only message, and end the call: what `send` and `finish` do, for less."""

    def finish(self, status: Status = OK) -> None:
        """End the call with a status, behind all messages."""

    def fail(self, error: BaseException) -> None:
        """End the call with the status of an error."""

    def read_on(self, *, on: bool) -> None:
        """Let the client send more, or not: what it may send already comes in any case."""


@dataclass(frozen=True, slots=True)
class Method:
    """A row of the table.

    `api` says on which port it can be called, `scope` which key it needs where tokens are on, and `open` makes the
    Exchange of a call. Unless `streams_in`, a call has exactly one message of the client. If it is one prediction with
    one answer, `codec` is its RpcCodec, for PlainCall.
    """

    service: str
    name: str
    api: RpcApi
    open: Callable[[OpenCall], Exchange]
    scope: Scope
    streams_in: bool = False
    codec: Any = None

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.name}"


@dataclass(frozen=True, slots=True)
class CallHead:
    """The head of a call, read. Calls with the same header block share one.

    `metadata` is what handlers may see, `timeout` the seconds in which the client needs its answer, `coding` how its
    compressed messages are, "" if it has none. If the head is refused, `refusal` is the error to answer with, and there
    may be no `method`. `parent` is the client's span, which is only read where requests are recorded.
    """

    method: Method | None
    path: str
    fields: Mapping[str, str]
    metadata: dict[str, str]
    timeout: float | None = None
    priority: int = 0
    coding: str = ""
    refusal: Exception | None = None
    parent: TraceParent | None = None
