"""Decodes a batch into what the handler gets: a dict and headers for each request, as TorchServe does."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

import msgspec

from ..payload import Body
from ..wire.messages import Row

log = logging.getLogger(__name__)


def decode_rows(rows: Sequence[Row], bodies: Sequence[Body], *, decode: bool) -> list[dict[str, Any]]:
    """Return a dict per row from part name to value; the last part of a name wins.

    Without `decode`, every value is a bytearray.
    """
    data: list[dict[str, Any]] = []
    at = 0
    for row in rows:
        values: dict[str, Any] = {}
        for part in row.parts:
            values[part.name] = decode_value(bodies[at], part.content_type) if decode else own(bodies[at])
            at += 1
        data.append(values)
    return data


def decode_value(body: Body, content_type: str) -> Any:
    """Return the value of a body: parsed for `application/json`, str for `text/*`, else a bytearray.

    A body that can't be decoded is a bytearray, too.
    """
    kind = media_type(content_type)
    if kind == "application/json":
        return _json(body)
    if kind.startswith("text"):
        try:
            return str(body, "utf-8")
        except UnicodeDecodeError as error:
            log.warning("Failed utf-8 decoding of input data. Forwarding encoded payload: %s", error)
    return own(body)


def own(body: Body) -> bytearray:
    """Return the body as a bytearray that the handler may change. A large body already is one, and is not copied."""
    return body if isinstance(body, bytearray) else bytearray(body)


def media_type(content_type: str) -> str:
    """Return the type without its parameters, in the case that the client wrote."""
    return content_type.partition(";")[0].rstrip() if ";" in content_type else content_type


def request_headers(row: Row) -> dict[str, Any]:
    """Return the client's headers and, as in TorchServe, the content type of each part under the part's name."""
    headers: dict[str, Any] = {part.name: {"content-type": media_type(part.content_type)} for part in row.parts}
    headers.update(row.headers)
    return headers


def _json(body: Body) -> Any:
    try:
        # Unlike orjson, msgspec keeps integers of more than 64 bits exact.
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    try:
        # Only the standard library accepts NaN, Infinity, lone surrogates and numbers beyond a double.
        return json.loads(str(body, "utf-8"))
    except (ValueError, RecursionError) as error:
        log.warning("Failed json decoding of input data. Forwarding encoded payload: %s", error)
        return own(body)
