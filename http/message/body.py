"""Split a body into Parts by its content type. A multipart form's parts are slices of the body, never copies.

The backend decodes JSON and text. Here JSON is only checked, so that malformed JSON is answered with 400.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator

import msgspec

from ...core.errors import BadRequest
from ...core.payload import Body, Part
from .limits import Limits
from .request import media_type
from .urlencoded import SLICE, split_form

URL_ENCODED = "application/x-www-form-urlencoded"
_LOOK = msgspec.json.Decoder(msgspec.Raw).decode
_SMALL = 64 * 1024
CHECKED = 1024 * 1024  # bytes of JSON that are checked per request: 1 to 10 ms
_LINE_BREAK = re.compile(rb"\r?\n")
_EMPTY_LINE = re.compile(rb"\r?\n\r?\n")
_HEADER_BLOCK = 8192  # bytes of one part's headers
# Bytes that are searched for a boundary at a time: 0.3 ms, or 10 ms of text that nearly matches it.
_SEARCHED = 1024 * 1024
_ALL_HEADERS = 64 * 1024  # bytes of all parts' headers together; parsing `;a=b` over and over takes 80 ms a MB
# Takes linear time: a quote that is not closed can only be the last one.
_PARAMETER = re.compile(r';\s*([\w!#$%&\'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))', re.ASCII)
_ESCAPED = re.compile(r"\\(.)")
# Marks of JSON that json.loads reads and msgspec does not.
_PYTHON_ONLY = (b"NaN", b"Infinity", b"\\ud", b"\\uD", b"\0", b"\xef\xbb\xbf")


def split_body(body: bytes, content_type: str, limits: Limits, *, check_json: bool = True) -> tuple[Part, ...]:
    """Return the parts of a request; of several parts with one name only the last. Raises BadRequest."""
    if not content_type:
        return (Part("body", "", body),)
    kind = media_type(content_type)
    if is_form(kind):
        return _run(_split_form(body, content_type, limits, check_json=check_json))
    parts = (Part("body", kind, body),)
    if check_json:
        _check_json(parts)
    return parts


def split_slowly(
    body: Body, content_type: str, limits: Limits, *, check_json: bool
) -> Generator[None, None, tuple[Part, ...]] | None:
    """Return the steps to split a form that may hold the event loop for long; None for any other body."""
    if len(body) <= SLICE or not is_form(media_type(content_type)):
        return None
    return _split_form(bytes(body), content_type, limits, check_json=check_json)


def _split_form(
    body: bytes, content_type: str, limits: Limits, *, check_json: bool
) -> Generator[None, None, tuple[Part, ...]]:
    if media_type(content_type) == "multipart/form-data":
        parts = last_of_each((yield from _multipart(body, _boundary(content_type), limits.max_parts)))
    else:
        parts = last_of_each((yield from split_form(body, limits.max_parts)))
    if check_json:
        _check_json(parts)
    return parts


def _run(steps: Generator[None, None, tuple[Part, ...]]) -> tuple[Part, ...]:
    """Take all steps in one go, and return their result."""
    while True:
        try:
            next(steps)
        except StopIteration as ended:
            return ended.value


def _check_json(parts: tuple[Part, ...]) -> None:
    left = CHECKED
    for part in parts:
        if part.content_type == "application/json" and 0 < len(part.body) <= left:
            left -= len(part.body)
            check_json_syntax(part.name, part.body)


def is_form(kind: str) -> bool:
    """Return whether bodies of this media type have several parts."""
    return kind in {"multipart/form-data", URL_ENCODED}


def check_json_syntax(name: str, body: Body) -> None:
    """Raise BadRequest, naming the place, if `body` is not JSON.

    A departure: TorchServe hands such a body to the handler as a bytearray. msgspec's skipping decoder builds no
    objects (0.1 µs for 40 bytes, 0.5 ms for 600 KB of floats). Callers check bodies of up to CHECKED bytes only, as the
    event loop stands still meanwhile; the handler gets a larger malformed body as TorchServe's would. msgspec is
    stricter than the backend's json.loads (NaN, UTF-16, lone surrogates), and json.loads decides: a small body that
    msgspec refuses is parsed by json.loads, and a large one passes if it holds anything in which the two differ.
    """
    try:
        _LOOK(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as strict:
        raw = bytes(body)
        if len(raw) > _SMALL:
            if not any(mark in raw for mark in _PYTHON_ONLY):
                raise BadRequest(f"Malformed JSON in {name}: {strict}.") from None
            return
        try:
            json.loads(raw)
        except json.JSONDecodeError as error:
            raise BadRequest(
                f"Malformed JSON in {name}: {error.msg} at line {error.lineno} column {error.colno} (char {error.pos})."
            ) from None
        except UnicodeDecodeError as error:
            raise BadRequest(f"Malformed JSON in {name}: {error.reason} at byte {error.start}.") from None
        except RecursionError:
            raise BadRequest(f"Malformed JSON in {name}: nested too deeply.") from None


def last_of_each(parts: list[Part]) -> tuple[Part, ...]:
    """Return the parts; of several with one name only the last."""
    return tuple({part.name: part for part in parts}.values())


def _boundary(content_type: str) -> bytes:
    boundary = _parameters(content_type).get("boundary", "")
    if not 1 <= len(boundary) <= 70 or not boundary.isascii():
        raise BadRequest("Malformed multipart body: the content type names no boundary of 1 to 70 characters.")
    return boundary.encode("ascii")


def _find(body: bytes, delimiter: bytes, start: int) -> Generator[None, None, int]:
    """Return the index of `delimiter` from `start` on, or -1. Yields often: a hostile body nearly matches all over."""
    while True:
        end = start + _SEARCHED
        found = body.find(delimiter, start, end + len(delimiter) - 1)
        if found >= 0 or end >= len(body):
            return found
        start = end
        yield


def _multipart(body: bytes, boundary: bytes, max_parts: int) -> Generator[None, None, list[Part]]:
    """Return the parts of a form, whose lines end in CRLF.

    Hand-written clients end them in LF, which TorchServe reads. That is read here where the first delimiter's line says
    so, or where no delimiter follows that CRLF precedes: text with lines of its own must not be cut at an LF otherwise.
    No other program decides by a form's parts what the request is, so that it does no harm to read more than RFC 2046
    allows.
    """
    crlf, lf = b"\r\n--" + boundary, b"\n--" + boundary
    if body.startswith(crlf[2:]):
        end = len(crlf) - 2
    else:
        found = yield from _find(body, lf, 0)  # skips a preamble, which RFC 2046 allows
        if found < 0:
            raise BadRequest("Malformed multipart body: the boundary that the content type names is not in it.")
        end = found + len(lf)
    delimiter = crlf
    view = memoryview(body)
    parts: list[Part] = []
    headers = 0
    while not body.startswith(b"--", end):
        start = _line_end(body, end)
        if not parts and not body.startswith(b"\r\n", start - 2):
            delimiter = lf
        stop = yield from _find(body, delimiter, start - 2)
        if stop < 0 and delimiter == crlf:
            delimiter = lf
            stop = yield from _find(body, delimiter, start - 1)
        if stop < 0:
            raise BadRequest("Malformed multipart body: it ends before its closing boundary.")
        if len(parts) == max_parts:
            raise BadRequest(f"A form may have at most {max_parts} parts.")
        part, data = _part(body, view, start, stop)
        headers += data - start
        if headers > _ALL_HEADERS:
            raise BadRequest(f"The headers of a form's parts may have at most {_ALL_HEADERS} bytes together.")
        parts.append(part)
        end = stop + len(delimiter)
    return parts


def _line_end(body: bytes, at: int) -> int:
    """Return the index behind the line break of a delimiter's line; spaces and tabs may stand before the line break."""
    end = body.find(b"\n", at, at + 80)
    if end < 0 or body[at:end].removesuffix(b"\r").strip(b" \t"):
        raise BadRequest(f"Malformed multipart body: no line break behind the boundary at byte {at}.")
    return end + 1


def _part(body: bytes, view: memoryview, start: int, stop: int) -> tuple[Part, int]:
    """Return the part between two delimiters, and where its data begins.

    `stop` is where the line break of the second delimiter begins, or its LF.
    """
    if empty := _LINE_BREAK.match(body, start):
        headers, data = b"", empty.end()
    else:
        blank = _EMPTY_LINE.search(body, start, min(stop + 2, start + _HEADER_BLOCK))
        if blank is None:
            raise BadRequest(f"Malformed multipart body: the part at byte {start} has no end of its headers.")
        headers, data = body[start : blank.start()], blank.end()
    disposition, content_type = "", ""
    for line in headers.split(b"\n"):
        field, _, value = line.partition(b":")
        field = field.strip().lower()
        if field == b"content-disposition":
            disposition = value.decode("utf-8", "replace")
        elif field == b"content-type":
            content_type = value.decode("latin-1")
    parameters = _parameters(disposition)
    if "name" not in parameters:
        raise BadRequest(f"Malformed multipart body: the part at byte {start} has no name.")
    is_file = "filename" in parameters or "filename*" in parameters
    # A plain field's content type is ignored, as in TorchServe: the handler always gets its value as bytes.
    kind = (media_type(content_type) or "application/octet-stream") if is_file else ""
    last = stop - 1 if body[stop : stop + 1] == b"\n" and body[stop - 1 : stop] == b"\r" else stop
    return Part(parameters["name"], kind, view[data : max(data, last)]), data


def _parameters(value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, quoted, plain in _PARAMETER.findall(value):
        found[name.lower()] = (_ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted) or plain
    return found
