"""TraceParent: the caller's span, as W3C's traceparent and tracestate tell it. Pure.

What is malformed, doubled or too long is ignored, as the recommendation says: the request then begins a trace of its
own. A tracestate is never worth losing its traceparent for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

SAMPLED, RANDOM = 1, 2  # flags

_LONGEST = 256  # characters of a traceparent of a later version
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_MOST_MEMBERS = 32  # of a tracestate
_LONGEST_READ, _LONGEST_STATE = 8192, 512  # characters of one that comes, and of what goes on
_KEY = r"(?:[a-z0-9][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
_MEMBER = re.compile(rf"({_KEY})=([ -+\--<>-~]{{0,255}}[!-+\--<>-~])", re.ASCII)


class TraceParent(NamedTuple):
    """The span that a request belongs below. Ids are hexadecimal text; `state` is a tracestate, "" if there is none."""

    trace_id: str
    span_id: str
    flags: int
    state: str = ""

    @property
    def sampled(self) -> bool:
        """Whether the caller records its part of the trace."""
        return bool(self.flags & SAMPLED)


def read_parent(parents: Sequence[str], states: Sequence[str] = ()) -> TraceParent | None:
    """Return the caller's span from the values of all its traceparent and tracestate fields, None if it tells none."""
    if len(parents) != 1 or len(parents[0]) > _LONGEST:
        return None
    found = _PARENT.fullmatch(parents[0].strip(" \t"))
    if found is None:
        return None
    version, trace_id, span_id, flags, rest = found.groups()
    if version == "ff" or (version == "00" and rest is not None):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return TraceParent(trace_id, span_id, int(flags, 16) & (SAMPLED | RANDOM), read_state(states))


def parent_in(fields: Iterable[tuple[bytes, bytes]]) -> TraceParent | None:
    """Return the caller's span from the header fields of a request, None if they tell none."""
    parents: list[str] = []
    states: list[str] = []
    for name, value in fields:
        if len(name) in {10, 11}:
            lower = name.lower()
            if lower == b"traceparent":
                parents.append(value.decode("latin-1"))
            elif lower == b"tracestate":
                states.append(value.decode("latin-1"))
    return read_parent(parents, states) if parents else None


def read_state(values: Sequence[str]) -> str:
    """Return a tracestate to hand on: that of these fields, or as many of its first members as fit; "" for an invalid
    one.
    """
    if not values or sum(map(len, values)) > _LONGEST_READ:
        return ""
    members = [member.strip(" \t") for value in values for member in value.split(",")]
    members = [member for member in members if member]
    if len(members) > _MOST_MEMBERS:
        return ""
    found = [_MEMBER.fullmatch(member) for member in members]
    keys = [each[1] for each in found if each is not None]
    if len(keys) < len(members) or len(set(keys)) < len(keys):
        return ""
    state = ""
    for member in members:
        longer = f"{state},{member}" if state else member
        if len(longer) > _LONGEST_STATE:
            break
        state = longer
    return state


def parent_text(trace_id: str, span_id: str, flags: int = SAMPLED) -> str:
    """Return the traceparent that says: the receiver is below this span."""
    return f"00-{trace_id}-{span_id}-{flags:02x}"
