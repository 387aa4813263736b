"""Both answers side by side: which fields differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

_GONE = "(not there)"


def differences(theirs: Any, ours: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(path, theirs, ours) of each field that differs; the order of an object's keys counts."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        if theirs.get("status") != ours.get("status"):  # another answer altogether: field by field would only confuse
            yield path, theirs, ours
            return
        for key in [*theirs, *(key for key in ours if key not in theirs)]:
            yield from differences(theirs.get(key, _GONE), ours.get(key, _GONE), f"{path}/{key}".lstrip("/"))
        if list(theirs) != list(ours) and set(theirs) == set(ours):
            yield f"{path} (order)", list(theirs), list(ours)
    elif isinstance(theirs, list) and isinstance(ours, list) and len(theirs) == len(ours):
        for index, (one, other) in enumerate(zip(theirs, ours, strict=True)):
            yield from differences(one, other, f"{path}/{index}".lstrip("/"))
    elif theirs != ours or type(theirs) is not type(ours):
        yield path, theirs, ours


def told(theirs: Any, ours: Any, allowed: Callable[[str, Any, Any], bool], peer: str = "TorchServe") -> str:
    """The differences as text; empty where there are none."""
    lines = [
        f"{path}:\n  {peer:10} {one!r}\n  {'here':10} {other!r}"
        for path, one, other in differences(theirs, ours)
        if not allowed(path.rpartition("/")[2], one, other)
    ]
    return "\n".join(lines)
