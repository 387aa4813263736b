"""Heads that come again on a connection: read once, and each request is what its own head says."""

from __future__ import annotations

import pytest

from torchserve.http.transport import fast_http
from torchserve.http.transport.plain_head import read_plain

from ..doubles import answer, connect, post, running_front


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (post("/predictions/m", b"one"), post("/predictions/m", b"two")),
        (post("/predictions/m", b"one"), post("/predictions/m", b"two more")),
        (post("/predictions/m", b"one", "X-A: 1"), post("/predictions/m", b"two", "X-A: 2")),
        (post("/predictions/m", b"one"), post("/predictions/m/1.0", b"two")),
        (post("/predictions/m", b"one", method="PUT"), post("/predictions/m", b"two")),
        (post("/predictions/m", b"one"), post("/predictions/m", b"two", "X-A: 1")),
    ],
)
async def test_each_request_is_what_its_own_head_says(first: bytes, second: bytes) -> None:
    """A head that comes again is not read again, and one that differs in a byte is."""
    requests = [first, first, second, first, second, second]
    async with running_front() as again, connect(again.port()) as (reader, writer):
        for raw in requests:
            writer.write(raw)
            _ = await answer(reader)
    async with running_front() as anew:
        for raw in requests:
            async with connect(anew.port()) as (reader, writer):
                writer.write(raw)
                _ = await answer(reader)
    assert [payload.headers for payload in again.data.payloads] == [each.headers for each in anew.data.payloads]
    assert [payload.parts for payload in again.data.payloads] == [each.parts for each in anew.data.payloads]
    assert len({payload.request_id for payload in again.data.payloads}) == len(requests)
    assert again.data.targets == anew.data.targets
    assert [(entry.method, entry.target) for entry in again.log] == [(entry.method, entry.target) for entry in anew.log]


async def test_a_head_that_comes_again_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    monkeypatch.setattr(fast_http, "read_plain", lambda *given: looked.append(1) or read_plain(*given))
    async with running_front() as h, connect(h.port()) as (reader, writer):
        for body in (b"a", b"b", b"c"):
            writer.write(post("/predictions/m", body))
            assert (await answer(reader))[1] == body
    assert len(looked) == 1


async def test_a_head_that_was_refused_is_refused_again() -> None:
    raw = post("/predictions/m", b"x", "X-Request-Timeout-Ms: soon")
    async with running_front() as h, connect(h.port()) as (reader, writer):
        for _ in range(3):
            writer.write(raw)
            lines, _ = await answer(reader)
            assert lines[0] == "HTTP/1.1 400 Bad Request"
        assert not h.data.payloads
