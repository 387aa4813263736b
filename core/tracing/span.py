"""Span: one piece of work with its times, as OpenTelemetry has it, in plain values that any exporter can write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

Attributes: TypeAlias = Mapping[str, "str | int | float | bool"]

# Kinds and codes of a status, by OTLP's numbers.
INTERNAL, SERVER = 1, 2
UNSET, OK, ERROR = 0, 1, 2

LONGEST = 256  # characters of a text in an attribute or status: clients choose some of them


class Link(NamedTuple):
    """A span, perhaps of another trace, that a span has to do with."""

    trace_id: str
    span_id: str


class Event(NamedTuple):
    """A moment within a span, in ns since the epoch."""

    name: str
    at: int


@dataclass(slots=True)
class Span:
    """A finished span. Ids are hexadecimal text, times are in ns since the epoch. `failure` describes an ERROR."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    begin: int
    end: int
    kind: int = INTERNAL
    attributes: dict[str, Any] = field(default_factory=dict[str, Any])
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    status: int = UNSET
    failure: str = ""
    state: str = ""


def short(text: str) -> str:
    """Return `text`, cut to what a span may hold."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
