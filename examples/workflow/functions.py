"""The functions of the workflow: what comes before the models, and what comes behind them. Each is called with None as
it loads.
"""

from __future__ import annotations

from typing import Any

from ts.context import Context


def clean(data: list[dict[str, Any]] | None, _context: Context) -> list[bytes] | None:
    """Return each text in small letters, without space around it."""
    return data and [row["body"].strip().lower().encode() for row in data]


def both(data: list[dict[str, Any]] | None, _context: Context) -> list[dict[str, str]] | None:
    """Return the results of both models, which are under the names of their nodes."""
    return data and [{name: bytes(text).decode() for name, text in row.items()} for row in data]
