"""OTLP: spans as the message ExportTraceServiceRequest, in protobuf (extra `tracing`) and in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from ..version import __version__
from .span import Span

_SCOPE = "torchserve"


def as_json(spans: Sequence[Span], resource: Mapping[str, str]) -> bytes:
    """Return a line of OTLP JSON, in which ids are hexadecimal and 64-bit numbers are text."""
    scope = {"scope": {"name": _SCOPE, "version": __version__}, "spans": [_json_span(each) for each in spans]}
    group = {"resource": {"attributes": _json_attributes(resource)}, "scopeSpans": [scope]}
    return orjson.dumps({"resourceSpans": [group]}, option=orjson.OPT_APPEND_NEWLINE)


def as_protobuf(spans: Sequence[Span], resource: Mapping[str, str]) -> bytes:
    """Return the message as bytes. Raises ImportError without the extra `tracing`."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    _put_attributes(group.resource.attributes, resource)
    scoped = group.scope_spans.add()
    scoped.scope.name, scoped.scope.version = _SCOPE, __version__
    for each in spans:
        _put_span(scoped.spans.add(), each)
    return request.SerializeToString()


def _put_span(made: Any, span: Span) -> None:
    made.trace_id, made.span_id = bytes.fromhex(span.trace_id), bytes.fromhex(span.span_id)
    made.parent_span_id = bytes.fromhex(span.parent_id)
    made.name, made.kind, made.trace_state = span.name, span.kind, span.state
    made.start_time_unix_nano, made.end_time_unix_nano = span.begin, span.end
    _put_attributes(made.attributes, span.attributes)
    for event in span.events:
        made.events.add(name=event.name, time_unix_nano=event.at)
    for link in span.links:
        made.links.add(trace_id=bytes.fromhex(link.trace_id), span_id=bytes.fromhex(link.span_id))
    if span.status:
        made.status.code, made.status.message = span.status, span.failure


def _put_attributes(made: Any, attributes: Mapping[str, Any]) -> None:
    for key, value in attributes.items():
        put = made.add(key=key).value
        if isinstance(value, list):
            for each in value:
                put.array_value.values.add(string_value=each)
        else:
            setattr(put, _kind(value), value)


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "bool_value"
    if isinstance(value, int):
        return "int_value"
    return "double_value" if isinstance(value, float) else "string_value"


_JSON_KINDS = {
    "bool_value": "boolValue", "int_value": "intValue", "double_value": "doubleValue", "string_value": "stringValue",
}  # fmt: skip


def _json_attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _json_value(value)} for key, value in attributes.items()]


def _json_value(value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {"arrayValue": {"values": [{"stringValue": each} for each in value]}}
    kind = _kind(value)
    return {_JSON_KINDS[kind]: str(value) if kind == "int_value" else value}


def _json_span(span: Span) -> dict[str, Any]:
    made: dict[str, Any] = {
        "traceId": span.trace_id, "spanId": span.span_id, "name": span.name, "kind": span.kind,
        "startTimeUnixNano": str(span.begin), "endTimeUnixNano": str(span.end),
        "attributes": _json_attributes(span.attributes),
    }  # fmt: skip
    if span.parent_id:
        made["parentSpanId"] = span.parent_id
    if span.state:
        made["traceState"] = span.state
    if span.events:
        made["events"] = [{"name": each.name, "timeUnixNano": str(each.at)} for each in span.events]
    if span.links:
        made["links"] = [{"traceId": each.trace_id, "spanId": each.span_id} for each in span.links]
    if span.status:
        made["status"] = {"code": span.status, "message": span.failure}
    return made
