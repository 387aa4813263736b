"""Checks that a server answers correctly, before each measurement: the speed of wrong answers is of no interest."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from types import MappingProxyType
from urllib.parse import urlsplit

from .protocol_adapter import PLAIN, ProtocolAdapter
from .workload import Workload

AT_ONCE = 16  # requests at once: enough for batches to form, so that answers swapped within a batch are found


class WrongAnswerError(Exception):
    """An error that shows what was asked, what came, and what was expected."""


class Checker:
    """A checker that compares the answers of all servers.

    If the workload has no expected answers, the first answer to each body is what later ones are compared with.
    """

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self._first: dict[bytes, bytes] = {}

    def check(self, url: str, count: int = AT_ONCE, key: str = "", adapter: ProtocolAdapter = PLAIN) -> None:
        """Send `count` requests to `url` at once. Raises WrongAnswerError unless each has status 200 and the correct
        answer.
        """
        bodies, headers = self.workload.bodies(count), dict(adapter.headers)
        if key:
            headers["Authorization"] = f"Bearer {key}"
        with ThreadPoolExecutor(count) as threads:
            kind = adapter.kind(self.workload.content_type)
            answers = list(threads.map(lambda body: post(url, adapter.wrap(body), kind, headers), bodies))
        for body, (status, answer) in zip(bodies, answers, strict=True):
            if status != 200:
                raise WrongAnswerError(f"{url}: {status} {answer[:200]!r} instead of a 200")
            try:
                inner = adapter.unwrap(answer)
            except ValueError:
                raise WrongAnswerError(f"{url}: {answer[:200]!r} holds no answer") from None
            known = self.workload.expected
            expected = known(body) if known else self._first.setdefault(body, inner)
            if not self.workload.same(inner, expected):
                raise WrongAnswerError(f"{url}: {inner[:200]!r} instead of {expected[:200]!r}")


def post(
    url: str, body: bytes, content_type: str, headers: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, bytes]:
    """Send a POST request on a new connection and return (status, body), or (0, the reason) if there is no response."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=60)
    try:
        connection.request("POST", parts.path, body=body, headers={"Content-Type": content_type, **headers})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, HTTPException) as error:
        return 0, repr(error).encode()
    finally:
        connection.close()
