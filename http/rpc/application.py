"""RpcApplication: what serves the gRPC calls of a listener's HTTP/2 connections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...core.errors import ForeignSite, ServeError
from ...core.tracing.trace_parent import UNSAMPLED, TraceParent, not_sampled, read_parent
from ..app_context import AppContext
from ..message.request import Head
from ..message.sequence_headers import SequenceHeaders
from ..predict.codecs.torchserve import wishes
from ..site_policy import Reach
from ..transport.http2.stream import RequestHead, Stream, StreamHandler
from .call import Call
from .metadata import ACCEPTED, is_grpc, metadata_of, read_encoding, read_timeout
from .method import RPC_APIS, CallHead
from .methods import methods
from .plain_call import PlainCall
from .stall_watch import StallWatch
from .status import Code, RpcFailure

_SHOWN = 256  # characters of a path in an error


class RpcApplication:
    """An Application for gRPC: the calls of `apis`, at a listener that `reach` can reach.

    Without `open_inference` the Open Inference Protocol is not spoken.
    """

    def __init__(
        self,
        context: AppContext,
        apis: Iterable[str],
        reach: Reach,
        headers: SequenceHeaders,
        *,
        open_inference: bool = True,
    ) -> None:
        self._context = context
        self._methods = methods(
            [api for api in RPC_APIS if api in apis],
            headers,
            open_inference=open_inference,
            # As over REST: beyond loopback nothing but the management API commands without a key.
            commands=reach != "network" or context.token_auth is not None,
            regions=context.regions_at(reach),
        )
        self._reach: Reach = reach
        self._watch = StallWatch(context)

    def __call__(self, stream: Stream) -> StreamHandler:
        """Begin to serve a request."""
        head = stream.head
        read = head.memo
        if not isinstance(read, CallHead):
            if not is_grpc(head.headers):
                return _Refused(stream)
            read = head.memo = _read_again(head) or self._read(head, stream.peer)
        context, method = self._context, read.method
        if method is not None and method.codec is not None and context.tracer is None:
            call: Call = PlainCall(context, stream, read, self._watch, method.codec)
        else:
            call = Call(context, stream, read, self._watch)
        call.open()
        return call

    def _read(self, head: RequestHead, peer: object) -> CallHead:
        method = self._methods.get(head.path)
        fields = head.headers
        path = head.path.removeprefix("/")
        metadata = metadata_of(fields)
        try:
            api = method.api if method is not None else "management"
            self._context.admit(_http_head(head, peer), api, self._reach)
            if head.method != "POST":
                raise RpcFailure(Code.INTERNAL, "A gRPC call is a POST.")
            if method is None:
                raise RpcFailure(Code.UNIMPLEMENTED, f"Method not found: {path[:_SHOWN]}")
            coding = read_encoding(fields)
            timeout, priority = _wishes(fields)
        except (ServeError, RpcFailure) as error:
            return CallHead(None if isinstance(error, ForeignSite) else method, path, fields, metadata, refusal=error)
        return CallHead(method, path, fields, metadata, timeout, priority, coding, parent=self._parent(head))

    def _parent(self, head: RequestHead) -> TraceParent | None:
        if self._context.tracer is None or "traceparent" not in head.headers:
            return None
        parents = [value for name, value in head.fields if name == "traceparent"]
        if len(parents) == 1 and not_sampled(parents[0]):
            return UNSAMPLED
        return read_parent(parents, [value for name, value in head.fields if name == "tracestate"])


def _read_again(head: RequestHead) -> CallHead | None:
    """Return the head of a call of which another came before that differs in its deadline alone; else None."""
    before = None if head.like is None else head.like.memo
    if not isinstance(before, CallHead) or before.refusal is not None:
        return None
    fields = head.headers
    try:
        timeout, priority = _wishes(fields)
    except ServeError:
        return None  # which it has yet to be refused for
    return CallHead(
        before.method, before.path, fields, before.metadata, timeout, priority, before.coding, parent=before.parent
    )


def _wishes(fields: Mapping[str, str]) -> tuple[float | None, int]:
    """Return the seconds in which the client needs its answer, if it says, and its priority. Raises BadRequest."""
    wished, priority = wishes(fields)
    timeout = read_timeout(fields)
    if wished is None or timeout is None:
        return (wished if timeout is None else timeout), priority
    return min(wished, timeout), priority


def _http_head(head: RequestHead, peer: object) -> Head:
    """Return the head as the site policy reads it."""
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.fields if name != "host"]
    return Head(head.method, head.path, [(b"host", head.authority.encode("latin-1")), *fields], peer)


class _Refused:
    """The answer to a call whose messages are not of protobuf: 415, as gRPC says."""

    def __init__(self, stream: Stream) -> None:
        stream.send_headers(
            [(":status", "415"), ("accept", "application/grpc"), ("grpc-accept-encoding", ACCEPTED)], end=True
        )

    def data_received(self, data: object) -> None:
        """Drop the body."""

    def ended(self, trailers: object) -> None:
        """Do nothing: it is answered."""

    def aborted(self, error: object) -> None:
        """Do nothing."""

    def writable(self) -> None:
        """Do nothing."""
