"""Are the answers right? Asked before each measurement: a fast server that answers wrongly has no speed."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from .workload import Workload

AT_ONCE = 16  # enough for batches to form, so that a mix-up within a batch is seen
_TOLERANCE = 1e-3


class WrongAnswerError(Exception):
    """What was asked, what came, and what was expected."""


class Checker:
    """Holds all servers to the same answers; where a workload knows none, to the first that was given."""

    def __init__(self, workload: Workload) -> None:
        self._workload = workload
        self._first: dict[bytes, bytes] = {}

    def check(self, url: str, count: int = AT_ONCE, key: str = "") -> None:
        """Sends `count` requests at once to `url`; WrongAnswerError unless each answer is a 200 and right."""
        bodies = self._workload.bodies(count)
        with ThreadPoolExecutor(count) as threads:
            answers = list(threads.map(lambda body: post(url, body, self._workload.content_type, key), bodies))
        for body, (status, answer) in zip(bodies, answers, strict=True):
            if status != 200:
                raise WrongAnswerError(f"{url}: {status} {answer[:200]!r} instead of a 200")
            known = self._workload.expected
            expected = known(body) if known else self._first.setdefault(body, answer)
            if not same(answer, expected):
                raise WrongAnswerError(f"{url}: {answer[:200]!r} instead of {expected[:200]!r}")


def post(url: str, body: bytes, content_type: str, key: str = "") -> tuple[int, bytes]:
    """Status and body of one POST on a connection of its own; status 0 and the reason when there was no answer."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=60)
    try:
        bearer = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request("POST", parts.path, body=body, headers={"Content-Type": content_type, **bearer})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, HTTPException) as error:
        return 0, repr(error).encode()
    finally:
        connection.close()


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
