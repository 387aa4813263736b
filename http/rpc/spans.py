"""What the span of a gRPC prediction tells, by OpenTelemetry's conventions for RPC servers."""

from __future__ import annotations

from functools import partial

from ...core.errors import ServeError
from ...core.tracing.request_trace import RequestTrace, Told
from ...core.tracing.tracer import Tracer
from ..predict.spans import client_of
from .codec import Asked
from .method import OpenCall
from .status import Code, RpcFailure, code_of

# The statuses that are the server's fault.
_BROKEN = frozenset(
    (Code.UNKNOWN, Code.DEADLINE_EXCEEDED, Code.UNIMPLEMENTED, Code.INTERNAL, Code.UNAVAILABLE, Code.DATA_LOSS)
)


def begin(tracer: Tracer, call: OpenCall) -> RequestTrace | None:
    """Return the trace of a prediction that begins now, None if it is not recorded.

    A call of one prediction is logged with it, and its status tells the client as what it was recorded.
    """
    trace = tracer.begin(call.head.parent)
    method = call.head.method
    if trace is not None and method is not None and not method.streams_in:
        call.trace_id, call.answer_fields = trace.trace_id, trace.headers
    return trace


def end(trace: RequestTrace, call: OpenCall, asked: Asked, error: BaseException | None, *, cancelled: bool) -> None:
    """Note the end of a prediction."""
    code = Code.CANCELLED if cancelled else Code.OK
    if error is not None:
        trace.failed(error)
        if isinstance(error, RpcFailure):
            code = error.code
        else:
            code = code_of(error) if isinstance(error, ServeError) else Code.INTERNAL
    trace.end(partial(_told, call, asked, code, cancelled=cancelled))


def _told(call: OpenCall, asked: Asked, code: Code, *, cancelled: bool) -> Told:
    service, _, method = call.head.path.rpartition("/")
    attributes: dict[str, str | int] = {
        "rpc.system": "grpc",
        "rpc.service": service,
        "rpc.method": method,
        "rpc.grpc.status_code": int(code),
        "torchserve.request_id": call.id,
        **client_of(call.peer),
    }
    if asked.version is not None:
        attributes["torchserve.model.version"] = asked.version
    return Told(call.head.path, attributes, broken=code in _BROKEN, cancelled=cancelled)
