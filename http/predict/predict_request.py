"""PredictRequest: what the head of a prediction asks for. Requests with the same head share one, so it is frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from ...core.errors import RouteNotFound, ServeError, TooLarge
from ...core.tracing.trace_parent import TraceParent, parent_in
from ..app_context import AppContext
from ..message.request import Head, by_lower_name, check_percent
from ..site_policy import Reach
from .codecs.codec import Codec, HeadRead

if TYPE_CHECKING:
    from ...core.dataplane import DataPlane
    from ...core.workflows.runner import WorkflowPlane

SCOPE: Final = "inference"  # the API that predictions belong to, and the key that they need where tokens are on
_NOTHING = HeadRead("", None)


class CodecRoute(Protocol):
    """An interface for the route of predictions in one wire format. `path` is as the table has it."""

    @property
    def codec(self) -> Codec: ...
    @property
    def path(self) -> str: ...


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """The head of a prediction, and what it asks for.

    `fields` are the headers under lower-case names, and `read` is what `codec` has read in the head. If the head is
    refused, `refusal` is the error to answer with, and `read` is empty. `plane` takes it to its model or workflow.
    `path` is that of the route. `parent` is the client's span, which is only read where requests are recorded.
    """

    head: Head
    fields: Mapping[str, str]
    codec: Codec
    plane: DataPlane | WorkflowPlane
    read: HeadRead = _NOTHING
    refusal: ServeError | None = None
    path: str = ""
    parent: TraceParent | None = None

    @property
    def awaits_continue(self) -> bool:
        """Whether the client holds its body back until it is told to go on."""
        return awaits_continue(self.fields)

    def room(self, size: int) -> memoryview | None:
        """Return memory shared with the workers for a body of `size` bytes, or None.

        Raises ModelNotFound, VersionNotFound.
        """
        return self.plane.room(self.read.model, self.read.version, size) if self.read.model else None


def read_request(
    context: AppContext, head: Head, reach: Reach, route: CodecRoute, params: Mapping[str, str]
) -> PredictRequest:
    """Read the head of a prediction. `params` are the path's parameters, not decoded."""
    codec = route.codec
    fields = by_lower_name(head.headers())
    plane: DataPlane | WorkflowPlane = context.dataplane
    parent = None if context.tracer is None else parent_in(fields, head.raw_headers)
    try:
        context.admit(head, SCOPE, reach)
        check_percent(head.path())
        check_declared(fields, context.limits.max_request_size)
        read = codec.read_head(head, fields, params, check_json=context.decode_input)
        if read.of_workflow:
            if context.workflows is None:
                raise RouteNotFound
            plane = context.workflows.plane
    except ServeError as error:
        return PredictRequest(head, fields, codec, plane, refusal=error, path=route.path, parent=parent)
    return PredictRequest(head, fields, codec, plane, read, path=route.path, parent=parent)


def check_declared(fields: Mapping[str, str], limit: int) -> None:
    """Raise TooLarge, before a body is read, if its content-length is over `limit` bytes."""
    declared = fields.get("content-length")
    if declared is not None and declared.isdigit():
        check_size(int(declared), limit)


def check_size(size: int, limit: int) -> None:
    """Raise TooLarge for a body of `size` bytes that is over `limit` bytes."""
    if size > limit:
        raise TooLarge(f"The request body has {size} bytes and at most {limit} are accepted (max_request_size).")


def awaits_continue(fields: Mapping[str, str]) -> bool:
    """Return whether a client holds its body back until it is told to go on."""
    return fields.get("expect", "").lower() == "100-continue"
