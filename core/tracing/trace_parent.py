"""TraceParent: the caller's span, as W3C's traceparent and tracestate tell it. Pure.

What is malformed, doubled or too long is ignored, as the recommendation says: the request then begins a trace of its
own. A tracestate is never worth losing its traceparent for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

SAMPLED, RANDOM = 1, 2  # flags

_LONGEST = 256  # characters of a traceparent of a later version
_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
# No groups, which nobody needs and which take as long as the rest.
_UNSAMPLED = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][02468ace]", re.ASCII)
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
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


UNSAMPLED = TraceParent("", "", 0)  # any span that is not recorded: nobody asks for its ids


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


def parent_in(fields: Mapping[str, str], raw: Sequence[tuple[bytes, bytes]]) -> TraceParent | None:
    """Return the caller's span from the header fields of a request, None if they tell none, UNSAMPLED if it is not
    recorded. `raw` are the fields as they came, `fields` the same by lower-case names.

    Requests that are not recorded are the many, and each has another traceparent: of theirs nothing else is read.
    """
    text = fields.get("traceparent")
    if text is None:
        return None
    if len(fields) == len(raw) and not_sampled(text):  # none came twice
        return UNSAMPLED
    parents = [value.decode("latin-1") for name, value in raw if name.lower() == b"traceparent"]
    return read_parent(parents, [value.decode("latin-1") for name, value in raw if name.lower() == b"tracestate"])


def not_sampled(text: str) -> bool:
    """Return whether a traceparent tells of a span that its caller does not record."""
    return _UNSAMPLED.fullmatch(text) is not None and text[3:35] != _NO_TRACE and text[36:52] != _NO_SPAN


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
