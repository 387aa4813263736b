"""plain(): turns values that handlers return and JSON has no text for into values that it has.

These are numpy's, torch's, bytes, dates and NaN.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import math
import sys
import uuid
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

_AS_TEXT = (uuid.UUID, PurePath)
_DATES = (datetime.date, datetime.time)  # a datetime is a date


def plain(value: Any, *, literal_non_finite: bool = False) -> Any:
    """Return `value` made of what json.dumps writes: arrays and tensors as lists, dates as ISO 8601, bytes as text.

    NaN and the infinities become None, which is JSON's null, unless `literal_non_finite` leaves them as they are.
    Raises TypeError for what has no such form, ValueError for bytes that are no UTF-8, RecursionError for a circle.
    """

    def convert(value: Any) -> Any:
        if isinstance(value, float):
            return value if literal_non_finite or math.isfinite(value) else None
        if value is None or (isinstance(value, (str, int)) and not isinstance(value, enum.Enum)):
            return value
        if isinstance(value, Mapping):
            return {_key(key): convert(child) for key, child in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return [convert(child) for child in value]
        return convert(_unwrapped(value))

    return convert(value)


def _unwrapped(value: Any) -> Any:
    """Return the simpler value that stands for `value`, which may have to be unwrapped again."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (bytes, bytearray, memoryview)):
        try:
            return bytes(value).decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"bytes that are no UTF-8 text ({error}): send them as base64 text") from None
    if isinstance(value, _DATES):
        return value.isoformat()
    if isinstance(value, _AS_TEXT):
        return str(value)
    if _is_array(value):
        return value.tolist()  # a number if the array has no dimension
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _is_array(value: Any) -> bool:
    """Return whether `value` is numpy's or torch's, without importing either: its handler has loaded that."""
    numpy, torch = sys.modules.get("numpy"), sys.modules.get("torch")
    if numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):
        return not isinstance(value, numpy.generic) or not isinstance(value.item(), (complex, numpy.generic))
    return torch is not None and isinstance(value, torch.Tensor)


def _key(key: Any) -> Any:
    """Return a key as json.dumps takes it; numpy's numbers as Python's."""
    if key is None or isinstance(key, (str, int, float)):
        return key
    simple = _unwrapped(key)
    if isinstance(simple, (str, int, float)):
        return simple
    raise TypeError(f"keys must be str, int, float, bool or None, not {type(key).__name__}")
