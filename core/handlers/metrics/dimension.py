"""Dimensions, by which a metric is split, and the ones that each call of the metrics API adds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Dimension:
    """A name and a value by which a metric is split."""

    def __init__(self, name: str, value: Any) -> None:
        self.name = name
        self.value = value

    def __str__(self) -> str:
        return f"{self.name}:{self.value}"

    def to_dict(self) -> dict[str, Any]:
        return {"Name": self.name, "Value": self.value}


def with_defaults(given: Sequence[Dimension] | None, *defaults: Dimension) -> list[Dimension]:
    """Return the dimensions that a handler gave, and the defaults whose names are not among them."""
    dimensions = list(given or ())
    names = {dimension.name for dimension in dimensions}
    return [*dimensions, *(default for default in defaults if default.name not in names)]
