"""Cors: the headers that tell browsers which pages of other origins may read answers; and preflight requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.payload import Reply
from .app_context import AppContext
from .message.reply import PHRASES
from .message.request import Request


@dataclass(frozen=True, slots=True)
class Cors:
    """The three CORS settings, which are sent as they are; a setting that is "" is left out."""

    origin: str = ""
    methods: str = ""
    headers: str = ""

    def fields(self) -> tuple[tuple[str, str], ...]:
        said = (("Origin", self.origin), ("Methods", self.methods), ("Headers", self.headers))
        return tuple((f"Access-Control-Allow-{what}", value) for what, value in said if value)


def is_preflight(fields: Mapping[str, str]) -> bool:
    """Return whether an OPTIONS request is a browser's preflight. It has no key, and is no request to predict."""
    return "origin" in fields and "access-control-request-method" in fields


def preflight(_context: AppContext, _request: Request) -> Reply:
    """Answer a preflight. What it asks for is in the headers that every answer has."""
    return Reply(body=b"", phrase=PHRASES[200])
