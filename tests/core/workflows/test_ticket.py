"""Requests on their way through graphs, in virtual time: side by side, in time, tried again, ended as one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from torchserve.core.dataplane import DataPlane
from torchserve.core.errors import (
    HandlerFailed,
    ModelNotFound,
    NodeFailed,
    QueueFull,
    RequestExpired,
    ServerFull,
    TooLarge,
    WorkerDied,
    WorkflowNotFound,
)
from torchserve.core.models.registry import Registry
from torchserve.core.payload import Part, Payload, Reply
from torchserve.core.workflows.runner import WorkflowPlane
from torchserve.core.workflows.served import Served
from torchserve.core.workflows.spec import read_spec

from ..doubles import Answering, Sink, in_virtual_time, model, slot
from .doubles import DIAMOND, FAN, LINE, Case

DEATH = WorkerDied("Worker died.")


@in_virtual_time
async def test_nodes_run_side_by_side_and_get_what_torchserve_gives_them() -> None:
    case = Case(DIAMOND)
    case.submit()
    body = memoryview(bytearray(b"pre(in)"))
    case.data.sinks["pre"].done(Reply(body))
    assert case.data.nodes == ["pre", "m1", "m2"]
    assert all(payload.parts == (Part("body", "", body),) for _, payload in case.data.calls[1:])
    assert case.data.calls[1][1].parts[0].body is body, "a body was copied on its way"
    case.done("m2", b"2")
    assert case.data.nodes == ["pre", "m1", "m2"]
    case.done("m1", b"1")
    assert case.data.calls[3][1].parts == (Part("m1", "", b"1"), Part("m2", "", b"2"))
    assert [(each.request_id, each.headers, each.priority) for _, each in case.data.calls] == [
        ("id", {"h": "1"}, 3)
    ] * 4
    case.done("post", b"out", status=418, content_type="text/plain")
    assert case.sink.outcome == Reply(b"out", 418, content_type="text/plain")
    case.settled()


@in_virtual_time
async def test_several_leaves_are_an_object_in_the_order_of_the_graph() -> None:
    case = Case(FAN)
    case.submit()
    case.done("pre", b"")
    case.done("m2", b"[1, 2]")
    case.done("m1", b"no json")
    assert case.sink.outcome.body == b'{\n  "m1": "no json",\n  "m2": [\n    1,\n    2\n  ]\n}\n'
    case.settled()


@pytest.mark.parametrize(("size", "at_once"), [(10, True), (100_000, False)])
async def test_a_leaf_that_is_no_text_is_named(size: int, at_once: bool) -> None:
    case = Case(FAN, most=10**6)
    case.submit()
    for node in ("pre", "m1", "m2"):
        case.done(node, b"\xff" * size)
    assert bool(case.sink.heard) is at_once  # long ones are joined by a thread
    await case.sink.told.wait()
    assert isinstance(case.sink.outcome, NodeFailed)
    assert "Error executing m1 of workflow wf: its result is neither JSON nor text" in str(case.sink.outcome)
    case.settled()


@in_virtual_time
async def test_results_that_are_too_large_are_refused_with_the_limit() -> None:
    case = Case(FAN, most=9)
    case.submit()
    for node in ("pre", "m1", "m2"):
        case.done(node, b"12345")
    assert isinstance(case.sink.outcome, TooLarge)
    assert "made 10 bytes, and at most 9 are accepted (max_response_size)" in str(case.sink.outcome)
    case.settled()


@in_virtual_time
async def test_a_node_that_streams_is_collected_within_the_limit_unless_it_is_the_only_leaf() -> None:
    case = Case(LINE, most=9)
    case.submit()
    for piece in (b"1", b"2"):
        case.data.sinks["pre"].chunk(Reply(piece))
    case.done("pre", b"3")
    assert case.data.calls[1][1].parts[0].body == b"123"
    case.data.sinks["m1"].chunk(Reply(b"x" * 20))
    case.done("m1", b"end")
    assert case.sink.heard == [("chunk", Reply(b"x" * 20)), ("done", Reply(b"end"))]
    case = Case(LINE, most=9)
    case.submit()
    case.data.sinks["pre"].chunk(Reply(b"x" * 10))
    assert "Node pre of workflow wf made 10 bytes" in str(case.sink.outcome)
    case.settled()


@in_virtual_time
async def test_a_stream_that_breaks_off_is_not_begun_again() -> None:
    case = Case(LINE, retry_attempts=5)
    case.submit()
    case.done("pre", b"")
    case.data.sinks["m1"].chunk(Reply(b"x"))
    case.data.sinks["m1"].fail(DEATH)
    assert case.data.nodes == ["pre", "m1"]
    assert isinstance(case.sink.heard[-1][1], NodeFailed)
    case.settled()


@in_virtual_time
async def test_a_node_is_tried_again_as_often_as_is_said() -> None:
    case = Case(DIAMOND, retry_attempts=2)
    case.submit()
    case.done("pre", b"p")
    for _ in range(3):
        assert case.sink.heard == []
        case.data.sinks["m1"].fail(DEATH)
    assert case.data.nodes == ["pre", "m1", "m2", "m1", "m1"]
    assert str(case.sink.outcome) == "Error executing m1 of workflow wf in each of 3 attempts: Worker died."
    assert case.data.ends == {"pre": ["succeeded"], "m1": ["failed"] * 3, "m2": ["cancelled"]}
    case.done("m2", b"late")
    assert len(case.sink.heard) == 1
    case.settled()


@in_virtual_time
async def test_a_second_attempt_that_succeeds_is_an_answer() -> None:
    case = Case(LINE)
    case.submit()
    first = case.data.sinks["pre"]
    first.fail(HandlerFailed("Prediction failed", 503))
    first.done(Reply(b"of the first attempt"))
    case.done("pre", b"p")
    case.done("m1", b"out")
    assert case.sink.outcome == Reply(b"out")
    assert case.data.nodes == ["pre", "pre", "m1"]
    case.settled()


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (HandlerFailed("bad picture", 422), NodeFailed, "Error executing pre of workflow wf: bad picture"),
        (QueueFull("It is full.", retry_after=7.0), QueueFull, "Node pre of workflow wf: It is full."),
        (RequestExpired("too late"), RequestExpired, "Node pre of workflow wf: too late"),
        (RuntimeError("odd"), NodeFailed, "Error executing pre of workflow wf: RuntimeError: odd"),
    ],
)
@in_virtual_time
async def test_what_would_fail_again_is_not_tried_again(error: Exception, kind: type[Exception], says: str) -> None:
    case = Case(LINE, retry_attempts=9)
    case.submit()
    case.data.sinks["pre"].fail(error)
    assert type(case.sink.outcome) is kind
    assert (str(case.sink.outcome), case.sink.outcome.message) == (says, says)
    assert getattr(case.sink.outcome, "retry_after", None) == getattr(error, "retry_after", None)
    assert str(error) != says, "the error of other requests was changed"
    assert case.data.nodes == ["pre"]
    case.settled()


@in_virtual_time
async def test_a_refusal_of_the_first_node_is_raised_and_of_a_later_one_fails_the_request() -> None:
    case = Case(DIAMOND)
    case.data.refuses["pre"] = ModelNotFound("wf__pre")
    with pytest.raises(NodeFailed, match=r"^Error executing pre of workflow wf: Model not found: wf__pre$"):
        case.submit()
    case.settled()
    case = Case(DIAMOND)
    case.data.refuses["m2"] = QueueFull("full")
    case.submit()
    case.done("pre", b"p")
    assert str(case.sink.outcome) == "Node m2 of workflow wf: full"
    assert case.data.ends["m1"] == ["cancelled"]
    case.settled()


@in_virtual_time
async def test_a_node_that_hangs_is_given_up_after_its_own_time() -> None:
    case = Case(DIAMOND, timeout_ms=1500, retry_attempts=1)
    loop = asyncio.get_running_loop()
    case.submit()
    case.done("pre", b"p")
    case.done("m1", b"1")
    await asyncio.wait_for(case.sink.told.wait(), 60)
    assert loop.time() == pytest.approx(3.0)
    assert str(case.sink.outcome) == (
        "Error executing m2 of workflow wf in each of 2 attempts: it did not answer within 1500 ms (timeout-ms)"
    )
    assert case.data.ends["m2"] == ["cancelled", "cancelled"]
    case.settled()


@in_virtual_time
async def test_a_request_has_one_deadline_for_the_whole_graph() -> None:
    case = Case(DIAMOND, timeout=2.0, timeout_ms=60_000, retry_attempts=5)
    loop = asyncio.get_running_loop()
    case.submit()
    await asyncio.sleep(1.5)
    case.done("pre", b"p")
    assert [payload.timeout for _, payload in case.data.calls] == [2.0, pytest.approx(0.5), pytest.approx(0.5)]
    await asyncio.wait_for(case.sink.told.wait(), 60)
    assert loop.time() == pytest.approx(2.0)
    assert isinstance(case.sink.outcome, RequestExpired)
    assert "did not answer within the 2000 ms that this request has (x-request-timeout-ms)" in str(case.sink.outcome)
    assert (case.data.ends["m1"], case.data.ends["m2"]) == (["cancelled"], ["cancelled"])
    case.settled()


@in_virtual_time
async def test_each_node_has_its_own_time_whichever_began_first() -> None:
    nodes = {"m1": {"url": "m.mar", "timeout-ms": 3000}, "m2": {"url": "m.mar", "timeout-ms": 1000}}
    case = Case(DIAMOND, models=nodes, timeout_ms=10_000, retry_attempts=0)
    loop = asyncio.get_running_loop()
    case.submit()
    await asyncio.sleep(9.5)
    case.done("pre", b"p")
    await asyncio.sleep(0.75)  # beyond the time of the first node, which has answered
    assert case.sink.heard == []
    case.done("m2", b"2")
    await asyncio.wait_for(case.sink.told.wait(), 60)
    assert loop.time() == pytest.approx(12.5)
    assert str(case.sink.outcome).endswith("m1 of workflow wf: it did not answer within 3000 ms (timeout-ms)")
    case.settled()
    case = Case(DIAMOND, models=nodes, retry_attempts=0)
    case.submit()
    case.done("pre", b"p")
    begun = loop.time()
    await asyncio.wait_for(case.sink.told.wait(), 60)
    assert loop.time() - begun == pytest.approx(1.0)
    case.settled()


@in_virtual_time
async def test_what_is_kept_for_a_join_counts_as_long_as_it_is_kept() -> None:
    case = Case(DIAMOND)
    case.submit()
    case.done("pre", b"x" * 50)
    assert case.data.kept == 0
    case.done("m1", b"x" * 100)
    assert case.data.kept == 100
    case.done("m2", b"x" * 100)
    assert case.data.kept == 0
    case.done("post", b"out")
    case.settled()


@in_virtual_time
async def test_a_server_that_is_full_keeps_nothing_for_a_join() -> None:
    case = Case(FAN)
    case.data.most = 99
    case.submit()
    case.done("pre", b"")
    case.done("m1", b"x" * 100)
    assert isinstance(case.sink.outcome, ServerFull)
    assert str(case.sink.outcome) == "Node m1 of workflow wf: The server is full."
    assert case.data.ends["m2"] == ["cancelled"]
    case.settled()


@in_virtual_time
async def test_a_client_that_leaves_takes_all_nodes_with_it() -> None:
    case = Case(DIAMOND)
    ticket = case.submit()
    case.done("pre", b"p")
    case.done("m1", b"1")
    ticket.cancel()
    assert (case.data.ends["m1"], case.data.ends["m2"]) == (["succeeded"], ["cancelled"])
    await asyncio.sleep(100)  # no timer is left that would begin another attempt
    case.done("m1", b"late")
    assert (case.data.nodes, case.sink.heard) == (["pre", "m1", "m2"], [])
    case.settled()


@pytest.mark.parametrize("status", [400, 503])
@in_virtual_time
async def test_a_status_that_a_handler_sets_ends_the_request_where_another_node_would_read_the_body(
    status: int,
) -> None:
    case = Case(LINE)
    case.submit()
    case.done("pre", b"sorry", status=status)
    assert str(case.sink.outcome) == f"Error executing pre of workflow wf: its handler set the status {status}"
    case.settled()


@in_virtual_time
async def test_answers_that_come_before_the_ticket() -> None:
    case = Case(DIAMOND)
    case.data.at_once = {node: Reply(node.encode()) for node in ("pre", "m1", "m2", "post")}
    case.submit()
    assert case.sink.outcome == Reply(b"post")
    case.settled()


@in_virtual_time
async def test_a_workflow_that_is_removed_waits_for_its_requests() -> None:
    case = Case(LINE)
    case.submit()
    drained = asyncio.create_task(case.served.drain(60.0))
    await asyncio.sleep(1)
    case.done("pre", b"p")
    assert not drained.done()
    case.done("m1", b"out")
    await drained
    assert asyncio.get_running_loop().time() == pytest.approx(1)
    case.submit()
    await case.served.drain(5.0)
    assert asyncio.get_running_loop().time() == pytest.approx(6)


def test_an_unknown_workflow_is_named() -> None:
    plane = Case(LINE).plane
    calls: list[Callable[[], object]] = [
        lambda: plane.expect("x", None),
        lambda: plane.room("x", None, 9),
        lambda: plane.submit("x", None, Payload("id", ()), Sink()),
    ]
    for call in calls:
        with pytest.raises(WorkflowNotFound, match=r"^Workflow not found: x$"):
            call()


async def test_requests_of_a_node_share_batches_with_all_others_of_its_model() -> None:
    registry = Registry()
    for name in ("pre", "m1"):
        subject = model(f"wf__{name}", batch_size=8, max_batch_delay=50, batch_policy="fixed")
        subject.pool.slots.append(slot())
        registry.add(subject)
    data = DataPlane(registry, 10**6)
    served = Served("wf", read_spec({"dag": LINE}, functions=True))
    plane = WorkflowPlane(data, {"wf": served}, 10**6)
    runners = [
        Answering(registry.get(f"wf__{name}").scheduler, lambda payload: Reply(bytes(payload.parts[0].body) + b"."))
        for name in ("pre", "m1")
    ]
    sinks = [Sink() for _ in range(8)]
    payload = Payload("id", (Part("body", "", b"x"),))
    for sink in sinks[:4]:
        plane.submit("wf", None, payload, sink)
    for sink in sinks[4:]:
        data.submit("wf__pre", None, payload, sink)
    for sink in sinks:
        await sink.told.wait()
    assert [sink.outcome.body for sink in sinks] == [b"x.."] * 4 + [b"x."] * 4
    assert [[len(batch) for batch in runner.batches] for runner in runners] == [[8], [4]]
