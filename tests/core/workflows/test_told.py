"""What is told of requests through workflows: the counts of the dashboard, and the steps of a recorded request."""

from __future__ import annotations

import asyncio

import pytest

from torchserve.core.errors import HandlerFailed, QueueFull

from ..doubles import in_virtual_time
from ..tracing.doubles import Desk
from .doubles import DIAMOND, Case


def traced(case: Case) -> Desk:
    """Have the case's request be recorded."""
    desk = Desk()
    trace = desk.tracer.begin(None)
    assert trace is not None
    case.payload = trace.queue(case.payload, "wf", "workflow")
    return desk


def steps(desk: Desk) -> list[tuple[str, int, str]]:
    """The attempts of a recorded request in the order of their ends: node, number, and why it failed."""
    return [
        (span.name, span.attributes["torchserve.workflow.attempt"], span.attributes.get("error.type", ""))
        for span in desk.spans()
        if span.name.startswith("node ")
    ]


@in_virtual_time
async def test_each_attempt_of_a_node_is_counted_and_a_step_of_the_request() -> None:
    case = Case(DIAMOND, retry_attempts=1)
    desk = traced(case)
    case.submit()
    assert case.data.calls[0][1].trace is not case.payload.trace
    case.done("pre", b"")
    case.data.sinks["m1"].fail(HandlerFailed("no", 500))
    case.done("m2", b"2")
    case.done("m1", b"1")
    case.done("post", b"out")
    assert steps(desk) == [
        ("node pre", 1, ""),
        ("node m1", 1, "HandlerFailed"),
        ("node m2", 1, ""),
        ("node m1", 2, ""),
        ("node post", 1, ""),
    ]
    row = case.served.row()
    assert (row["requests"], row["succeeded"], row["left"], row["running"], sum(row["latency"])) == (1, 1, 0, 0, 1)
    assert {node["name"]: (node["failed"], node["repeated"]) for node in row["nodes"]} == {
        "pre": (0, 0), "m1": (0, 1), "m2": (0, 0), "post": (0, 0),
    }  # fmt: skip
    assert row["nodes"][0] | {"failed": 0} == {
        "name": "pre",
        "model": "wf__pre",
        "after": ["m1", "m2"],
        "failed": 0,
        "repeated": 0,
    }


@in_virtual_time
async def test_a_request_counts_as_failed_at_one_node_or_as_left() -> None:
    case = Case(DIAMOND, retry_attempts=0, timeout_ms=1000)
    desk = traced(case)
    case.submit()
    case.done("pre", b"", status=404)
    case.submit()
    case.done("pre", b"")
    await asyncio.sleep(2)  # neither m1 nor m2 answers
    case.data.refuses["m2"] = QueueFull("full")
    case.submit()
    case.done("pre", b"")
    del case.data.refuses["m2"]
    ticket = case.submit()
    ticket.cancel()
    ticket.cancel()
    case.data.refuses["pre"] = QueueFull("full")
    with pytest.raises(QueueFull):
        case.submit()
    assert steps(desk) == [
        ("node pre", 1, "HandlerFailed"), ("node pre", 1, ""), ("node m1", 1, "NodeFailed"), ("node m2", 1, "cancelled"),
        ("node pre", 1, ""), ("node m2", 1, "QueueFull"), ("node m1", 1, "cancelled"), ("node pre", 1, "cancelled"),
        ("node pre", 1, "QueueFull"),
    ]  # fmt: skip
    assert not [span for span in desk.spans() if span.name == "queue" and span.attributes]
    row = case.served.row()
    assert (row["requests"], row["succeeded"], row["left"], row["running"]) == (5, 0, 1, 0)
    assert {node["name"]: node["failed"] for node in row["nodes"]} == {"pre": 2, "m1": 1, "m2": 1, "post": 0}
