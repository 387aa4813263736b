"""What becomes of a traceparent at the doors of HTTP: one that is malformed, doubled or too long is as if it were not there."""

from __future__ import annotations

import httpx
import pytest

from ..core.tracing.doubles import Desk, tree
from .doubles import head_and_body, post, running_front

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


async def asked(desk: Desk, *headers: str) -> tuple[list[str], bytes]:
    async with running_front(tracer=desk.tracer) as h:
        return head_and_body(await h.say(post("/predictions/m", b"x", "Connection: close", *headers)))


async def test_a_good_one_comes_back_and_is_the_parent() -> None:
    desk = Desk()
    lines, _ = await asked(desk, f"TraceParent: {GOOD}", "tracestate: a=1", "tracestate: b=2")
    (root, *_) = desk.spans()
    assert (root.trace_id, root.parent_id, root.state) == (TRACE, SPAN, "a=1,b=2")
    assert {f"traceparent: 00-{TRACE}-{root.span_id}-01", "tracestate: a=1,b=2"} <= set(lines)


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("values", [[GOOD[:-1]], [GOOD, GOOD], [f"cc-{TRACE}-{SPAN}-01-{'x' * 8000}"]])
async def test_one_that_is_none_begins_a_trace_of_its_own(values: list[str], http2: bool) -> None:
    desk = Desk()
    fields = [("traceparent", value) for value in values]
    async with running_front(tracer=desk.tracer) as h, httpx.AsyncClient(http1=not http2, http2=http2) as client:
        answer = await client.post(h.url("/predictions/m"), content=b"x", headers=fields)
    assert (answer.status_code, answer.content, "traceparent" in answer.headers) == (200, b"x", False)
    (root, *_) = desk.spans()
    assert (root.parent_id, root.trace_id == TRACE) == ("", False)
    assert tree(desk.spans())


@pytest.mark.parametrize("http2", [False, True])
async def test_one_of_10_kilobytes_is_refused_as_any_such_field_is_and_the_next_request_is_served(http2: bool) -> None:
    desk = Desk()
    async with running_front(tracer=desk.tracer) as h, httpx.AsyncClient(http1=not http2, http2=http2) as client:
        refused = await client.post(h.url("/predictions/m"), content=b"x", headers={"traceparent": "0" * 10_240})
        served = await client.post(h.url("/predictions/m"), content=b"x", headers={"traceparent": GOOD})
    assert (refused.status_code, served.status_code) == (431 if http2 else 400, 200)
    assert [span.trace_id for span in desk.spans() if not span.parent_id or span.parent_id == SPAN] == [TRACE]
