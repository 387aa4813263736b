"""Read a decoded header list as the head of a request, or as trailers.

What RFC 9113, section 8, calls malformed is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .errors import ErrorCode, StreamFault
from .stream import RequestHead

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_PATH = re.compile(rb"/[!-~\x80-\xff]*")
_SCHEME = re.compile(rb"[a-z][a-z0-9+.-]*")
_LENGTH = re.compile(r"[0-9]{1,15}")
_PSEUDO = frozenset((b":method", b":scheme", b":path", b":authority"))
_OF_A_CONNECTION = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
_OVERHEAD = 32  # bytes that a field counts for beside its name and value (section 6.5.2)

RawFields = Iterable[tuple[bytes, bytes]]


class RefusedHead(Exception):
    """A head that is well-formed and answered with `status` instead of being served."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def malformed(text: str) -> StreamFault:
    """Return the fault of a malformed message."""
    return StreamFault(ErrorCode.PROTOCOL_ERROR, text)


def read_head(raw: RawFields, max_list: int, max_fields: int, max_field: int) -> RequestHead:
    """Return the head of a request. Raises StreamFault if it is malformed, RefusedHead if it is not to be served.

    The limits are on the bytes of the list, on the number of fields and on the bytes of one of them.
    """
    pseudo: dict[str, str] = {}
    fields: list[tuple[str, str]] = []
    size = largest = 0
    for name, value in raw:
        own = len(name) + len(value)
        size += own + _OVERHEAD
        largest = max(largest, own)
        if name.startswith(b":"):
            text = name.decode("latin-1")
            if fields or name not in _PSEUDO or text in pseudo:
                raise malformed("pseudo-header fields are unknown, repeated or behind other fields")
            pseudo[text] = _checked(value)
        else:
            fields.append(_field(name, value))
    if size > max_list or len(fields) > max_fields or largest > max_field:
        raise RefusedHead(431, f"a header list of {size} bytes and {len(fields)} fields")
    if pseudo.get(":method") == "CONNECT":
        raise RefusedHead(405, "CONNECT is not served")
    _check_pseudo(pseudo)
    return RequestHead(pseudo, tuple(fields), _length(fields))


def read_trailers(raw: RawFields, max_list: int) -> tuple[tuple[str, str], ...]:
    """Return the fields behind a body. Raises StreamFault if they are malformed, or more than `max_list` bytes."""
    fields = tuple(_field(name, value) for name, value in raw)
    if sum(len(name) + len(value) + _OVERHEAD for name, value in fields) > max_list:
        raise StreamFault(ErrorCode.ENHANCE_YOUR_CALM, "too many trailers")
    return fields


def _field(name: bytes, value: bytes) -> tuple[str, str]:
    if not _NAME.fullmatch(name):
        raise malformed("a field's name is no token in lower case")
    if name in _OF_A_CONNECTION or (name == b"te" and value != b"trailers"):
        raise malformed("a field belongs to an HTTP/1.1 connection")
    return name.decode("latin-1"), _checked(value)


def _checked(value: bytes) -> str:
    if not _VALUE.fullmatch(value):
        raise malformed("a field's value has control characters, or spaces around it")
    return value.decode("latin-1")


def _check_pseudo(pseudo: dict[str, str]) -> None:
    method, scheme, path = (pseudo.get(name, "").encode("latin-1") for name in (":method", ":scheme", ":path"))
    if not re.fullmatch(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", method) or not _SCHEME.fullmatch(scheme):
        raise malformed(":method or :scheme is missing or no token")
    if not _PATH.fullmatch(path) and not (path == b"*" and method == b"OPTIONS"):
        raise malformed(":path is missing or no path")
    if "@" in pseudo.get(":authority", ""):
        raise malformed(":authority has user information")


def _length(fields: list[tuple[str, str]]) -> int | None:
    said = {value for name, value in fields if name == "content-length"}
    if not said:
        return None
    value = said.pop()
    if said or not _LENGTH.fullmatch(value):
        raise malformed("content-length is no number, or two")
    return int(value)
