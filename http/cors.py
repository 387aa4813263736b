"""Cors: what browsers are told about pages that other origins served, on every answer and when they ask beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..core.payload import Reply
from .app_context import AppContext
from .message.reply import PHRASES
from .message.request import Request


@dataclass(frozen=True, slots=True)
class Cors:
    """The three settings, sent as they are; one that is "" is left out."""

    origin: str = ""
    methods: str = ""
    headers: str = ""

    def fields(self) -> tuple[tuple[str, str], ...]:
        said = (("Origin", self.origin), ("Methods", self.methods), ("Headers", self.headers))
        return tuple((f"Access-Control-Allow-{what}", value) for what, value in said if value)


def is_preflight(fields: Mapping[str, str]) -> bool:
    """Whether this OPTIONS is a browser's asking if it may send a request: without a key, and not to predict."""
    return "origin" in fields and "access-control-request-method" in fields


def preflight(_context: AppContext, _request: Request) -> Reply:
    """The answer is in the headers that every answer has."""
    return Reply(body=b"", phrase=PHRASES[200])
