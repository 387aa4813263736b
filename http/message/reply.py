"""Write a Reply as bytes: status line and headers in TorchServe's order, whatever a handler has put into them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus

import orjson
from msgspec.structs import replace

from ...core.payload import Reply, Scheduled

# TorchServe's words for four statuses, which Python calls otherwise since 3.13.
_RENAMED = {
    413: "Request Entity Too Large", 414: "Request-URI Too Long", 416: "Requested Range Not Satisfiable",
    422: "Unprocessable Entity",
}  # fmt: skip
PHRASES = {status.value: status.phrase for status in HTTPStatus} | _RENAMED
CACHE = "x-torchserve-cache"  # a header of the dataplane
_DATAPLANE = frozenset({CACHE, "x-torchserve-load-wait-ms", "x-torchserve-load-wait-cause"})
BODILESS = frozenset({204, 304})

_FIXED = (
    ("Pragma", "no-cache"),
    ("Cache-Control", "no-cache; no-store, must-revalidate, private"),
    ("Expires", "Thu, 01 Jan 1970 00:00:00 UTC"),
)
# A handler's headers of these names are left out. A handler must not choose where its answer ends, nor what becomes of
# the connection; the others are set by the server on every answer, as TorchServe does.
_OURS = frozenset(
    (
        "content-length", "transfer-encoding", "connection", "keep-alive", "upgrade", "trailer", "te",
        "proxy-connection", "content-type", "x-request-id", "pragma", "cache-control", "expires", "ts_stream_next",
    )
)  # fmt: skip
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class DefaultHeaders:
    """The headers that every answer of a server has: TorchServe's fixed ones, and before them `more`.

    They win over a handler's own of the same name.
    """

    __slots__ = ("_ours", "fields", "more", "plain_close", "plain_keep", "whole_close", "whole_keep")

    def __init__(self, more: Sequence[tuple[str, str]] = ()) -> None:
        self.more = tuple(more)  # of answers that a cache keeps, which say themselves for how long
        self.fields = (*more, *_FIXED)
        self._ours = _OURS.union(name.lower() for name, _ in more)
        fixed = "".join(f"{name}: {value}\r\n" for name, value in self.fields).encode("latin-1")
        plain = b"HTTP/1.1 200 \r\nx-request-id: %b\r\n" + fixed.replace(b"%", b"%%") + b"content-length: %d\r\n"
        self.plain_keep = plain + b"connection: keep-alive\r\n\r\n"
        self.plain_close = plain + b"connection: close\r\n\r\n"
        self.whole_keep, self.whole_close = self.plain_keep + b"%b", self.plain_close + b"%b"  # with the body

    def lets(self, name: str) -> bool:
        """Return whether a handler may set this header."""
        return _TOKEN.fullmatch(name) is not None and name.lower() not in self._ours


PLAIN = DefaultHeaders()


def json_reply(value: object, status: int = 200) -> Reply:
    """Return an answer of the server itself: JSON, indented by two spaces, with a newline at its end."""
    try:
        body = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    except TypeError:  # a lone surrogate, or an integer over 64 bits, which the standard library can write
        body = json.dumps(value, indent=2, default=str).encode() + b"\n"
    return Reply(body=body, status=status, phrase=PHRASES.get(status, ""), content_type="application/json")


def head_fields(
    reply: Reply, request_id: str, *, keep: bool | None, length: int | None, default_headers: DefaultHeaders = PLAIN
) -> list[tuple[str, str]]:
    """Return header names and values in the order in which they are sent.

    There is no `content-length` if `length` is None, and no `connection` if `keep` is None, as in HTTP/2.
    A handler's header is left out if its name is malformed or the server's; control characters become spaces.
    """
    kept = CACHE in [name for name, _ in reply.headers]
    fields = [("x-request-id", request_id), *(default_headers.more if kept else default_headers.fields)]
    if length is not None and reply.status not in BODILESS:
        fields.append(("content-length", str(length)))
    if keep is not None:
        fields.append(("connection", "keep-alive" if keep else "close"))
    content_type = reply.content_type or _content_type(reply.headers)
    if content_type:
        fields.append(("content-type", _CONTROL.sub(" ", content_type)))
    for name, value in reply.headers:
        if default_headers.lets(name) or (kept and name == "Cache-Control"):
            fields.append((name, _CONTROL.sub(" ", value).strip()))
    return fields


def encode_head(status: int, phrase: str, fields: Iterable[tuple[str, str]]) -> bytes:
    """Return the head as bytes. A character beyond Latin-1 becomes a question mark, as in TorchServe."""
    lines = [f"HTTP/1.1 {status} {_CONTROL.sub(' ', phrase)}\r\n"]
    lines += [f"{name}: {value}\r\n" for name, value in fields]
    lines.append("\r\n")
    return "".join(lines).encode("latin-1", "replace")


def reply_head(reply: Reply, request_id: str, *, keep: bool, default_headers: DefaultHeaders = PLAIN) -> bytes:
    """Return the head of an answer that is not streamed."""
    if reply.status == 200 and not reply.headers and not reply.content_type and not reply.phrase:
        plain = default_headers.plain_keep if keep else default_headers.plain_close
        return plain % (request_id.encode(), len(reply.body))
    fields = head_fields(reply, request_id, keep=keep, length=len(reply.body), default_headers=default_headers)
    return encode_head(reply.status, reply.phrase, fields)


def stream_head(
    reply: Reply, request_id: str, *, keep: bool, chunked: bool, default_headers: DefaultHeaders = PLAIN
) -> bytes:
    """Return the head of a streamed answer, of which `reply` is the first chunk."""
    fields = head_fields(reply, request_id, keep=keep, length=None, default_headers=default_headers)
    fields.append(("ts_stream_next", "true"))
    if chunked:
        fields.append(("transfer-encoding", "chunked"))
    return encode_head(reply.status, reply.phrase, fields)


def with_trace(reply: Reply, fields: tuple[tuple[str, str], ...]) -> Reply:
    """Return the reply with the headers that say as what a request was recorded, in place of a handler's."""
    if not fields:
        return reply
    theirs = [field for field in reply.headers if field[0].lower() not in {"traceparent", "tracestate"}]
    return replace(reply, headers=(*theirs, *fields))


def with_scheduling(reply: Reply, scheduled: Scheduled) -> Reply:
    """Return the reply with headers that say how it was scheduled. A handler's headers of these names are left out."""
    fields = [
        ("x-torchserve-queue-ms", f"{scheduled.queued * 1e3:.3f}"),
        ("x-torchserve-batch-size", str(scheduled.batch_size)),
        ("x-torchserve-batch-cause", scheduled.cause),
        ("x-torchserve-worker", scheduled.worker),
        ("x-torchserve-device", scheduled.device),
    ]
    if scheduled.handler is not None:
        fields.append(("x-torchserve-handler-ms", f"{scheduled.handler * 1e3:.3f}"))
    theirs = [
        field for field in reply.headers if not field[0].lower().startswith("x-torchserve-") or field[0] in _DATAPLANE
    ]
    return replace(reply, headers=(*theirs, *fields))


def unless_known(reply: Reply, known: str) -> Reply:
    """Return the answer, or 304 without a body if its etag is among those `known` to the client (If-None-Match).

    HTTP has 304 for GET alone. A prediction changes nothing whatever its method is, and most are POST.
    """
    tag = next((value for name, value in reply.headers if name.lower() == "etag"), "")
    if reply.status != 200 or not tag:
        return reply
    if known.strip() != "*" and tag.removeprefix("W/") not in {
        each.strip().removeprefix("W/") for each in known.split(",")
    }:
        return reply
    return replace(reply, body=b"", status=304, phrase=PHRASES.get(304, "Not Modified"), content_type=None)


def _content_type(headers: Iterable[tuple[str, str]]) -> str:
    return next((value for name, value in headers if name.lower() == "content-type"), "")
