"""The grammar of sizes in a model-config.yaml: a number, or a text with a unit."""

from __future__ import annotations

import re

_SIZE = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,6})?)\s*([KMGT]i?B?)\s*")


def read_size(value: object, *, unit: int) -> int | None:
    """Return bytes from a number of `unit` bytes, or a text with a unit, where KB, MB and GB are powers of 1000; None
    if invalid.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value * unit if 0 < value * unit < 1 << 50 else None
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    number, letters = match.groups()
    step = 1024 if "i" in letters else 1000
    return int(float(number) * step ** ("KMGT".index(letters[0]) + 1)) or None
