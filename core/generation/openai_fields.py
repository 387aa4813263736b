"""The fields of a body in OpenAI's format: each read and checked by its kind, or refused by its name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson


class Refused(Exception):
    """A refusal of a request: OpenAI's message, and the parameter and the code that clients may look at."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status

    def body(self) -> dict[str, Any]:
        """Return OpenAI's error object."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def written(self) -> bytes:
        """Return OpenAI's error object as JSON."""
        return orjson.dumps(self.body())


def object_of(value: Any, name: str = "") -> Mapping[str, Any]:
    """Return `value`, which must be a JSON object. Raises Refused."""
    if not isinstance(value, dict):
        raise Refused(f"'{name}' must be an object." if name else "The body must be a JSON object.", name or None)
    return value


def sound(text: str, where: str) -> str:
    """Return `text`, all of which must be characters. Raises Refused."""
    try:
        _ = text.encode()
    except UnicodeEncodeError:
        raise Refused(f"'{where}' has a lone surrogate, which is no character.", where) from None
    return text


def is_tokens(value: Any) -> bool:
    """Return whether `value` is a list of at least one token."""
    return isinstance(value, list) and bool(value) and all(type(each) is int and each >= 0 for each in value)


def number(body: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    """Return a number from `low` to `high`. Raises Refused."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Refused(f"'{name}' must be a number from {low:g} to {high:g}.", name)
    return float(value)


def whole(body: Mapping[str, Any], name: str, default: Any, most: int, least: int = 1) -> Any:
    """Return a whole number from `least` to `most`. Raises Refused."""
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int or not least <= value <= most:
        raise Refused(f"'{name}' must be a whole number from {least} to {most}.", name)
    return value


def flag(body: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    """Return true or false. Raises Refused."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise Refused(f"'{name}' must be true or false.", name)
    return value
