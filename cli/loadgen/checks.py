"""Is an answer right? A function of the payload's place, its body and the answer says so, in every process."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_TOLERANCE = 1e-3
_SHOWN = 100
_REMEMBERED = 10_000

# (place of the payload, its body, the answer) -> whether it is right
Check = Callable[[int, bytes, bytes], bool]


def any_answer(_place: int, _body: bytes, _answer: bytes) -> bool:
    """A good status is all that is asked."""
    return True


def echo(_place: int, body: bytes, answer: bytes) -> bool:
    """The body comes back."""
    return answer == body


@dataclass(slots=True)
class Expected:
    """One right answer for each payload; JSON may differ in its numbers' fourth decimal, as it does by batch."""

    answers: Sequence[bytes]
    _known: dict[tuple[int, bytes], bool] = field(default_factory=dict)

    def __call__(self, place: int, body: bytes, answer: bytes) -> bool:
        if answer == self.answers[place]:
            return True
        verdict = self._known.get((place, answer))
        if verdict is None:
            verdict = same(answer, self.answers[place])
            if len(self._known) < _REMEMBERED:
                self._known[place, answer] = verdict
        return verdict


def same(answer: bytes, expected: bytes) -> bool:
    """Equal bytes, or equal JSON with numbers that agree to three decimals."""
    if answer == expected:
        return True
    try:
        return _close(json.loads(answer), json.loads(expected))
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
    """For a message: the start of an answer."""
    return repr(answer[:_SHOWN]) + (f" … {len(answer)} bytes" if len(answer) > _SHOWN else "")
