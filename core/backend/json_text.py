"""JSON indented by 2, byte for byte as json.dumps(value, indent=2) writes it where that is valid JSON, but several
times as fast.

The standard library uses its C encoder only without indentation, so here it writes just the innermost containers, with
the line breaks as its separators.
"""

from __future__ import annotations

import functools
import json
from json.encoder import encode_basestring_ascii
from typing import Any

from .plain_values import plain

_REFERENCE = json.JSONEncoder(indent=2)
_SCALARS = frozenset({str, int, float, bool, type(None)})
_NUMBERS = frozenset({int, float})


class _Unusual(Exception):
    """A value whose text is left to the standard library."""


def dumps(value: Any, *, literal_non_finite: bool = False) -> str:
    """Return `value` as JSON; values that JSON has no text for are written as `plain_values.plain` makes them.

    NaN and the infinities are null or, with `literal_non_finite`, the words that json.dumps writes, which no strict
    parser reads. Raises TypeError, ValueError, RecursionError.
    """
    try:
        return _dump(value, 0)
    except (_Unusual, TypeError, ValueError, RecursionError):
        return _REFERENCE.encode(plain(value, literal_non_finite=literal_non_finite))


def _dump(value: Any, depth: int) -> str:
    kind = type(value)
    if kind in _SCALARS:
        return _leaf_encoder(0).encode(value)
    if kind is dict:
        kinds = set(map(type, value.values()))
    elif kind is list or kind is tuple:
        kinds = set(map(type, value))
    else:
        raise _Unusual
    if not value:
        return "{}" if kind is dict else "[]"
    if kinds <= _SCALARS:
        body = _leaf(value, kinds, depth + 1)
    elif kind is dict:
        pairs = [f"{_key(key)}: {_dump(child, depth + 1)}" for key, child in value.items()]
        body = f",{_break(depth + 1)}".join(pairs)
    else:
        body = f",{_break(depth + 1)}".join([_dump(child, depth + 1) for child in value])
    opening, closing = "{}" if kind is dict else "[]"
    return f"{opening}{_break(depth + 1)}{body}{_break(depth)}{closing}"


def _leaf(value: Any, kinds: set[type], depth: int) -> str:
    """Return the text between the brackets of a container of scalars."""
    if kinds <= _NUMBERS and type(value) is not dict:
        body = f",{_break(depth)}".join(map(repr, value))
        if "n" not in body:  # else nan or inf may be in it, which JSON has no literals for
            return body
    return _leaf_encoder(depth).encode(value)[1:-1]


def _key(key: Any) -> str:
    if type(key) is not str:
        raise _Unusual
    return encode_basestring_ascii(key)


@functools.lru_cache(64)
def _break(depth: int) -> str:
    return "\n" + "  " * depth


@functools.lru_cache(64)
def _leaf_encoder(depth: int) -> json.JSONEncoder:
    # The encoder gets scalars only, so there is no circle to look for.
    return json.JSONEncoder(separators=(f",{_break(depth)}", ": "), check_circular=False, allow_nan=False)
