"""Are the answers right? Asked before each measurement: a fast server that answers wrongly has no speed."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from types import MappingProxyType
from urllib.parse import urlsplit

from torchserve.cli.loadgen.checks import same

from .protocol_adapter import PLAIN, ProtocolAdapter
from .workload import Workload

AT_ONCE = 16  # enough for batches to form, so that a mix-up within a batch is seen


class WrongAnswerError(Exception):
    """What was asked, what came, and what was expected."""


class Checker:
    """Holds all servers to the same answers; where a workload knows none, to the first that was given."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self._first: dict[bytes, bytes] = {}

    def check(self, url: str, count: int = AT_ONCE, key: str = "", adapter: ProtocolAdapter = PLAIN) -> None:
        """Sends `count` requests at once to `url`; WrongAnswerError unless each answer is a 200 and right."""
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
            if not same(inner, expected):
                raise WrongAnswerError(f"{url}: {inner[:200]!r} instead of {expected[:200]!r}")


def post(
    url: str, body: bytes, content_type: str, headers: Mapping[str, str] = MappingProxyType({})
) -> tuple[int, bytes]:
    """Status and body of one POST on a connection of its own; status 0 and the reason when there was no answer."""
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
