"""Operation: what the OpenAPI documents say of a row of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any]
TEXT: Schema = {"type": "string"}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the query."""

    name: str
    summary: str
    schema: Schema = field(default_factory=lambda: TEXT)
    required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of the API.

    `answers` are the successes with the schema of their JSON, None where the body is none of ours; `errors` have
    the body that `error` names. `method` is the one shown for a route that takes every method. `takes_body`: any body
    at all, or JSON by the schema `body`.
    """

    id: str
    summary: str
    answers: Mapping[int, Schema | None]
    errors: tuple[int, ...] = ()
    query: tuple[Parameter, ...] = ()
    method: str = "GET"
    takes_body: bool = False
    body: Schema | None = None
    media: str = "application/json"
    deprecated: bool = False
    error: str = "Error"

    @property
    def of_version(self) -> Operation:
        """The same for a version of a model that the path names."""
        return replace(self, id=f"version_{self.id}", summary=f"{self.summary} For a version that the path names.")

    def named(self, id: str, summary: str, *query: Parameter) -> Operation:  # noqa: A002 - it is Operation.id
        """Return the same for another path."""
        return replace(self, id=id, summary=summary, query=query)
