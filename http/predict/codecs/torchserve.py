"""TorchServeCodec: TorchServe's wire format. A body is the handler's `body`, or a form whose parts are its rows."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass

from ....core.errors import BadRequest
from ....core.payload import Body, Part, Payload, Reply
from ...message.body import CHECKED, check_json_syntax, is_form, last_of_each, split_body, split_slowly
from ...message.errors import error_reply
from ...message.limits import Limits
from ...message.request import Head, decode_segment, media_type
from .codec import Decoded, HeadRead, Steps

_LONGEST = 2**31 - 1  # ms
_PRIORITIES = {str(level): level for level in range(-9, 10)}
_TRANSFER = frozenset(("transfer-encoding", "expect"))  # how the body came: done with once it is here
_LONGEST_NAME = 1024  # bytes; no model has a longer name


@dataclass(frozen=True, slots=True)
class _Detail:
    """The part of a head that says what its bodies are.

    `headers` are those that the handler sees. `given` are the parts that the query has. `kind` is the media type, and
    `form` says whether a body of that type has several parts.
    """

    headers: dict[str, str]
    has_length: bool
    content_type: str
    kind: str
    form: bool
    check_json: bool
    given: tuple[Part, ...]


class TorchServeCodec:
    """The codec of TorchServe's format, with what differs by its routes.

    A route adds the headers `explain` (if not "") and `url_path` to those that the handler sees and, with `query`, the
    parameters of the query to its input.
    """

    encode: Callable[[Reply], Reply] | None = None  # what a handler returns is what is sent

    def __init__(self, *, explain: str = "", url_path: bool = False, query: bool = False) -> None:
        self._explain = explain
        self._url_path = url_path
        self._query = query

    def read_head(
        self, head: Head, fields: Mapping[str, str], params: Mapping[str, str], *, check_json: bool
    ) -> HeadRead:
        """Read what a head asks for. Raises BadRequest."""
        query = {name: values[-1] for name, values in head.query().items()} if self._query else {}
        headers = handler_headers(head)
        if self._explain:
            headers["explain"] = self._explain
        if self._url_path:
            headers["url_path"] = decode_segment(params.get("rest", ""))
        timeout, priority = wishes(fields)
        content_type = fields.get("content-type", "")
        kind = media_type(content_type)
        return HeadRead(
            decode_segment(params.get("model", "")) or query.get("model_name", ""),
            decode_segment(params["version"]) if "version" in params else None,
            timeout,
            priority,
            _Detail(
                headers,
                "content-length" in fields,
                content_type,
                kind,
                is_form(kind),
                check_json and "content-encoding" not in fields,
                tuple(Part(name, "", value.encode("utf-8", "surrogateescape")) for name, value in query.items()),
            ),
        )

    def decode(self, read: HeadRead, body: Body, request_id: str, limits: Limits) -> Decoded | Steps:
        """Return the model that is named, and the payload that a whole body makes, or the steps to that if it is a
        large form. Raises BadRequest.
        """
        detail: _Detail = read.detail
        if detail.form:
            steps = split_slowly(body, detail.content_type, limits, check_json=detail.check_json)
            if steps is not None:
                return _decode_slowly(read, body, steps, request_id)
        if detail.given or detail.form:
            parts = split_body(bytes(body), detail.content_type, limits, check_json=detail.check_json)
            return _decoded(read, body, parts, request_id)
        if detail.check_json and detail.kind == "application/json" and 0 < len(body) <= CHECKED:
            check_json_syntax("body", body)
        headers = detail.headers if detail.has_length else _with_length(detail.headers, body)
        return read.model, Payload(request_id, (Part("body", detail.kind, body),), headers, read.timeout, read.priority)

    def error(self, error: BaseException) -> Reply:
        """Return TorchServe's JSON object with code, type and message."""
        return error_reply(error)

    def broken_off(self, error: BaseException) -> bytes | None:
        """Return None: TorchServe's clients see the end of a stream missing."""
        return None


def handler_headers(head: Head) -> dict[str, str]:
    """Return the headers that a handler sees: all but those of how the body came."""
    return {name: value for name, value in head.headers().items() if name.lower() not in _TRANSFER}


def wishes(fields: Mapping[str, str]) -> tuple[float | None, int]:
    """Return the seconds in which the client needs its answer, if it says, and its priority. Raises BadRequest."""
    timeout, priority = fields.get("x-request-timeout-ms"), fields.get("x-request-priority")
    seconds = None
    if timeout is not None:
        if not (timeout.isascii() and timeout.isdigit() and 0 < int(timeout[:10]) <= _LONGEST and len(timeout) <= 10):
            raise BadRequest(f"x-request-timeout-ms must be a whole number from 1 to {_LONGEST}.")
        seconds = int(timeout) / 1000.0
    if priority is not None and priority not in _PRIORITIES:
        raise BadRequest("x-request-priority must be a whole number from -9 (first) to 9 (last); 0 is the default.")
    return seconds, _PRIORITIES[priority] if priority is not None else 0


def _decode_slowly(
    read: HeadRead, body: Body, steps: Generator[None, None, tuple[Part, ...]], request_id: str
) -> Steps:
    parts = yield from steps
    return _decoded(read, body, parts, request_id)


def _decoded(read: HeadRead, body: Body, parts: tuple[Part, ...], request_id: str) -> Decoded:
    detail: _Detail = read.detail
    if detail.given:
        parts = last_of_each([*detail.given, *parts])
    headers = detail.headers if detail.has_length else _with_length(detail.headers, body)
    payload = Payload(request_id, parts, headers, read.timeout, read.priority)
    return read.model or _named(parts), payload


def _named(parts: tuple[Part, ...]) -> str:
    """Return the model that a form's field names; "" if none does."""
    return next((str(part.body[:_LONGEST_NAME], "utf-8", "replace") for part in parts if part.name == "model_name"), "")


def _with_length(headers: dict[str, str], body: Body) -> dict[str, str]:
    """Add the body's length, which the head did not say."""
    return {**headers, "content-length": str(len(body))}
