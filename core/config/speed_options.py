"""What a model's yaml asks for its speed, at the price of its answers or of its start: read by front and worker."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)

# key -> the values that are legal. The first is the default, and asks for nothing.
CHOICES: Mapping[str, tuple[object, ...]] = {
    "bf16": (False, "auto"),
    "quantize": (False, "dynamic"),
    "compile": (False, "auto"),
    "approximateResize": (False, True),
}
_MOST_SIDES = 8
_LARGEST = 1 << 28  # elements of a row


def check_speed(config: Mapping[str, Any]) -> None:
    """Log a warning for each value that is none of those that the key may have: the worker leaves it out."""
    for key in CHOICES:
        try:
            chosen(config, key)
        except ValueError as error:
            log.warning("model-config.yaml: %s; it is left out", error)
    if isinstance(said := config.get("warmUp"), dict):
        try:
            read_integers(said)
        except ValueError as error:
            log.warning("model-config.yaml: %s; the model is not warmed up", error)


def chosen(config: Mapping[str, Any], key: str) -> object:
    """Return the value of `key`, which is one of CHOICES. Raises ValueError for any other value."""
    legal = CHOICES[key]
    value = config.get(key, legal[0])
    for each in legal:
        if type(value) is type(each) and value == each:
            return each
    told = " or ".join(str(each).lower() for each in reversed(legal))
    raise ValueError(f"{key} must be {told}, not {repr(value)[:80]}")


def read_integers(said: Mapping[Any, Any]) -> tuple[tuple[int, ...], int]:
    """Return the shape and the upper bound of a row of whole numbers, as `warmUp` names them. Raises ValueError."""
    if said.keys() != {"shape", "below"}:
        raise ValueError(f"warmUp must be a shape, or have shape and below, not {str(said)[:80]}")
    shape, below = said["shape"], said["below"]
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= _MOST_SIDES
        or not all(type(side) is int and side > 0 for side in shape)
        or math.prod(shape) > _LARGEST
    ):
        raise ValueError(
            f"warmUp.shape must be a list of 1 to {_MOST_SIDES} whole numbers above 0 whose product is at most"
            f" {_LARGEST}, not {str(shape)[:80]}"
        )
    if type(below) is not int or not 2 <= below < 2**63:
        raise ValueError(f"warmUp.below must be a whole number from 2 to {2**63 - 1}, not {str(below)[:80]}")
    return tuple(shape), below
