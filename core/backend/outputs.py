"""Encodes what a handler returned as bodies and Results. torch is used only if the handler has loaded it."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ..handlers.context import RequestProcessor
from ..payload import Body
from ..wire.messages import CONTINUES_HEADER, DEFAULT_RESULT, Result
from . import json_text
from .failure import text_of

log = logging.getLogger(__name__)


class InvalidOutput(Exception):
    """An output that is no answer to its batch; `reason` is for the log."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class UnsupportedOutput(Exception):
    """An element of the output that no rule turns into bytes."""


def encode_value(value: Any, *, literal_non_finite: bool = False) -> Body:
    """Return `value` as bytes: str as UTF-8, bytes unchanged, tensors by torch.save, anything else as JSON indented by
    2.

    `literal_non_finite` is json_text.dumps' own. Raises UnsupportedOutput.
    """
    try:
        if isinstance(value, str):
            return value.encode("utf-8")
        if isinstance(value, bytes | bytearray):
            return value
        if (tensor := tensor_bytes(value)) is not None:
            return tensor
        return json_text.dumps(value, literal_non_finite=literal_non_finite).encode("utf-8")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UnsupportedOutput(f"{type(value).__name__}: {error}") from error


def make_result(processor: RequestProcessor, body: Body, max_size: int, fallback: int = 200) -> tuple[Result, Body]:
    """Return the Result of one request and its body, by what the handler set in its context.

    `fallback` is the status if it set none. A body over `max_size` bytes fails this request alone.
    """
    if len(body) > max_size:
        message = f"The response of {len(body)} bytes is over max_response_size, which is {max_size}"
        log.error(message)
        return Result(500, "", None, (), message), b""
    status, phrase = processor.get_response_status_code(), processor.get_response_status_phrase()
    given = processor.get_response_headers()
    if status == fallback == 200 and not phrase and not given:
        return DEFAULT_RESULT, body
    content_type: str | None = None
    headers: list[tuple[str, str]] = []
    for name, value in given.items():
        if str(name).lower() == "content-type":
            content_type = clean(value)
        else:
            headers.append((clean(name), clean(value)))
    code = fallback if status == 200 else http_status(status)
    return Result(code, clean(phrase or ""), content_type, tuple(headers)), body


def mark_steps(
    processors: Sequence[RequestProcessor], criteria: Sequence[Callable[..., bool]] | None, output: Sequence[Any]
) -> None:
    """Tell the front which requests continue: those whose criterion, if the handler has one, is not to stop yet."""
    for index, processor in enumerate(processors):
        if isinstance(output[index], Exception):
            continue
        if criteria:
            stop: bool | None = criteria[index](output[index])
            if stop is not None:
                processor.add_response_property(CONTINUES_HEADER, "false" if stop else "true")
        elif processor.get_response_headers().get(CONTINUES_HEADER) == "true":
            processor.add_response_property(CONTINUES_HEADER, "false")


def http_status(code: Any) -> int:
    """Return the handler's status if it is one of HTTP, else 500."""
    try:
        number = int(code)
    except BaseException:  # noqa: BLE001  a handler's class may raise anything
        number = 0
    if not 200 <= number <= 599:
        log.error("A handler set the response status '%s'; expected 200 to 599, answering 500", text_of(code))
        return 500
    return number


def clean(value: Any) -> str:
    """Return `value` as text that fits a header line: encodable, and without control characters."""
    text = value if isinstance(value, str) else str(value)
    if text.isascii() and text.isprintable():
        return text
    text = text.encode("utf-8", "replace").decode("utf-8")
    return "".join(" " if character < " " or character == "\x7f" else character for character in text)


def tensor_bytes(value: Any) -> bytes | None:
    """Return a tensor as torch.save writes it, None for anything else."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(value, torch.Tensor):
        return None
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()
