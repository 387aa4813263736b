"""The table of Settings as rows, by which keys are read, shown and documented."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .settings import Settings

HIDDEN = "(hidden)"
_KINDS = {
    "bool": "true or false",
    "int": "whole number",
    "float": "number",
    "str": "text",
    "Path": "path",
    "Address": "address",
    "tuple[str, ...]": "comma-separated list",
    "tuple[Address, ...]": "comma-separated list",
    "SavedModels": "JSON",
    "ConfiguredModels": "JSON",
}


@dataclass(frozen=True, slots=True)
class Key:
    """A key: how its text becomes a value, and its documentation. If `variable` is None, no variable overrides it."""

    name: str
    default: Any
    parse: Callable[[str], Any]
    doc: str
    kind: str
    unit: str
    variable: str | None
    secret: bool

    def shown(self, value: object) -> str:
        """Return a value as anybody may see it."""
        return HIDDEN if self.secret and value is not None else as_text(value)


def as_text(value: object) -> str:
    """Return a value as a properties file would give it; None is the empty text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if type(value) is tuple:
        return ",".join(map(as_text, value))
    return json.dumps(value) if isinstance(value, Mapping) else str(value)


def _rows() -> dict[str, Key]:
    rows: dict[str, Key] = {}
    for entry in fields(Settings):
        about = entry.metadata
        kind = str(entry.type).removesuffix(" | None")
        rows[entry.name] = Key(
            name=entry.name,
            default=entry.default,
            parse=about["parse"],
            doc=about["doc"],
            kind=_KINDS.get(kind, kind),
            unit=about["unit"],
            variable=f"TS_{entry.name.upper()}" if about["env"] == "" else about["env"],
            secret=about["secret"],
        )
    return rows


KEYS: Mapping[str, Key] = _rows()
