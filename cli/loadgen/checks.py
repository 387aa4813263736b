"""Checks: functions that say whether an answer is correct. They are pickled and sent to each process of the generator.

An answer is the body of a response with status 200.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

_TOLERANCE = 1e-3
_SHOWN = 100
_REMEMBERED = 10_000

# (index of the payload, its body, the answer) -> whether the answer is correct
Check = Callable[[int, bytes, bytes], bool]


def any_answer(_place: int, _body: bytes, _answer: bytes) -> bool:
    """Accept any answer."""
    return True


def echo(_place: int, body: bytes, answer: bytes) -> bool:
    """Return whether the answer is the request's body."""
    return answer == body


@dataclass(slots=True)
class Expected:
    """A check against one expected answer for each payload.

    Numbers in answers that `read` makes values of, JSON as it is, may differ from the fourth decimal on, because a
    model's results depend a little on the batch size.
    """

    answers: Sequence[bytes]
    read: Callable[[bytes], Any] = json.loads
    _known: dict[tuple[int, bytes], bool] = field(default_factory=dict)

    def __call__(self, place: int, body: bytes, answer: bytes) -> bool:
        if answer == self.answers[place]:
            return True
        verdict = self._known.get((place, answer))
        if verdict is None:
            verdict = same(answer, self.answers[place], self.read)
            if len(self._known) < _REMEMBERED:
                self._known[place, answer] = verdict
        return verdict


def same(answer: bytes, expected: bytes, read: Callable[[bytes], Any] = json.loads) -> bool:
    """Return whether two answers are equal, or their values are, with numbers that agree to three decimals.

    `read` makes the values of an answer, and raises ValueError for one that has none.
    """
    if answer == expected:
        return True
    try:
        return _close(read(answer), read(expected))
    except ValueError:
        return False


def _close(left: object, right: object) -> bool:
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_close(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_close, left, right))
    if isinstance(left, float) or isinstance(right, float):
        if not isinstance(left, int | float) or not isinstance(right, int | float):
            return False
        return math.isclose(left, right, rel_tol=0, abs_tol=_TOLERANCE)
    return type(left) is type(right) and left == right


def shortened(answer: bytes) -> str:
    """Return the start of an answer for use in a message."""
    return repr(answer[:_SHOWN]) + (f" … {len(answer)} bytes" if len(answer) > _SHOWN else "")
