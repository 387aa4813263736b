"""Which requests are recorded, and the exact trees of spans that become of what is noted of them."""

from __future__ import annotations

import pytest

from torchserve.core.payload import Payload
from torchserve.core.tracing.batch_trace import BatchTrace, Done, Formed
from torchserve.core.tracing.request_trace import RequestTrace, Told
from torchserve.core.tracing.span import ERROR, LONGEST, SERVER, UNSET, Event, Link
from torchserve.core.tracing.step_trace import MOST_STEPS, begin_step
from torchserve.core.tracing.trace_notes import MOST_RUNS
from torchserve.core.tracing.trace_parent import TraceParent, read_parent

from .doubles import Desk, tree

CALLER = TraceParent("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", 1, "a=1")
UNRECORDED = CALLER._replace(flags=0)
PAYLOAD = Payload("id", ())


def begun(desk: Desk, parent: TraceParent | None = None) -> RequestTrace:
    trace = desk.tracer.begin(parent)
    assert trace is not None
    return trace


def formed(at: float) -> Formed:
    return Formed(at, {"torchserve.batch.size": 2}, "W-9000-m_1.0")


def ended(trace: RequestTrace, *, broken: bool = False, cancelled: bool = False) -> None:
    trace.end(lambda: Told("POST /predictions/{model}", {"k": "v"}, broken, cancelled))


@pytest.mark.parametrize(
    ("rate", "parent", "recorded"),
    [
        (1.0, None, True),
        (0.0, None, False),
        (0.0, CALLER, True),
        (1.0, UNRECORDED, False),
    ],
)
def test_the_caller_decides_and_else_the_rate(rate: float, parent: TraceParent | None, recorded: bool) -> None:
    assert (Desk(rate).tracer.begin(parent) is not None) == recorded


def test_about_the_rate_of_requests_is_recorded_each_in_a_trace_of_its_own() -> None:
    tracer = Desk(0.25).tracer
    found = [trace for _ in range(4000) if (trace := tracer.begin(None)) is not None]
    assert 800 < len(found) < 1200
    assert len({trace.trace_id for trace in found} | {trace.span_id for trace in found}) == 2 * len(found)
    assert all(len(trace.trace_id) == 32 and len(trace.span_id) == 16 for trace in found)
    assert all(trace.headers == () for trace in found)


def test_a_whole_request_is_below_its_caller() -> None:
    desk = Desk()
    trace = begun(desk.at(1.0), CALLER)
    desk.now = 1.5
    payload = trace.queue(PAYLOAD, "m")
    assert (payload.trace, payload.request_id) == (trace, "id")
    batch = BatchTrace([(trace, 1.5)], formed(2.0))
    # Of the 2 s between handing over and answer the worker had the batch for 1.5 s: 0.25 s were spent each way.
    batch.answered(Done(1.5, (0.25, 1.25), (("preprocess", 0.25, 0.5), ("inference", 0.5, 1.25))))
    desk.now = 4.5
    batch.end(2.5)
    desk.now = 5.0
    ended(trace)
    spans = desk.spans()
    assert tree(spans) == [
        "POST /predictions/{model} 1-5",
        "  queue 1.5-2",
        "  batch 2-4.5",
        "    worker 2.5-4.5",
        "      handler 3-4",
        "        preprocess 3-3.25",
        "        inference 3.25-4",
    ]
    by_name = {span.name: span for span in spans}
    root, shared = by_name["POST /predictions/{model}"], by_name["batch"]
    assert (root.parent_id, root.kind, root.attributes, root.status) == (
        CALLER.span_id,
        SERVER,
        {"k": "v", "torchserve.model.name": "m"},
        UNSET,
    )
    assert shared.parent_id == root.span_id
    assert shared.links == (Link(trace.trace_id, trace.span_id),)
    assert {(span.trace_id, span.state, span.status) for span in spans} == {(CALLER.trace_id, "a=1", UNSET)}
    assert by_name["worker"].attributes == {"torchserve.worker.name": "W-9000-m_1.0"}
    found = read_parent([batch.parent], [])
    assert found == TraceParent(CALLER.trace_id, by_name["worker"].span_id, 1)
    assert trace.headers == (("traceparent", f"00-{CALLER.trace_id}-{root.span_id}-01"), ("tracestate", "a=1"))


def test_a_batch_has_one_span_that_is_linked_to_its_members_and_they_to_it() -> None:
    desk = Desk()
    first, second = begun(desk), begun(desk, CALLER)
    for trace in (first, second):
        trace.queue(PAYLOAD, "m")
    batch = BatchTrace([(first, 0.0), (second, 0.5)], formed(1.0))
    assert batch.trace_ids == f"{first.trace_id},{second.trace_id}"
    batch.answered(Done(1.0, (0.0, 1.0), ()))
    desk.now = 2.0
    batch.end(1.0)
    ended(first)
    ended(second)
    spans = desk.spans()
    (own,) = [span for span in spans if span.span_id == batch.span_id]
    assert own.links == (Link(first.trace_id, first.span_id), Link(second.trace_id, second.span_id))
    assert (own.trace_id, own.parent_id) == (first.trace_id, first.span_id)
    assert tree([span for span in spans if span.trace_id == CALLER.trace_id]) == [
        "POST /predictions/{model} 0-2", "  queue 0.5-1", "  batch 1-2",
    ]  # fmt: skip
    (part,) = [span for span in spans if span.name == "batch" and span.trace_id == CALLER.trace_id]
    assert (part.links, part.attributes) == ((Link(first.trace_id, batch.span_id),), {"torchserve.batch.size": 2})


def test_what_never_ran_has_waited_until_it_ended() -> None:
    desk = Desk()
    trace = begun(desk)
    trace.queue(PAYLOAD, "m")
    trace.failed(ValueError("q" * 10_000))
    desk.now = 3.0
    ended(trace, broken=True)
    root, queue = desk.spans()
    assert tree([root, queue]) == ["POST /predictions/{model} 0-3", "  queue 0-3"]
    assert (root.status, root.attributes["error.type"], len(root.failure)) == (ERROR, "ValueError", LONGEST)
    assert queue.status == UNSET


def test_what_was_refused_before_it_was_queued_has_one_span() -> None:
    desk = Desk()
    trace = begun(desk)
    trace.failed(KeyError("no"))
    ended(trace)
    (root,) = desk.spans()
    assert (root.status, root.failure, root.attributes["error.type"]) == (UNSET, "", "KeyError")


def test_a_client_that_left_is_no_failure_of_the_server() -> None:
    desk = Desk()
    trace = begun(desk)
    ended(trace, cancelled=True)
    (root,) = desk.spans()
    assert (root.status, root.attributes["error.type"]) == (UNSET, "client_left")


def test_the_first_piece_of_an_answer_is_an_event() -> None:
    desk = Desk()
    trace = begun(desk)
    for now in (1.0, 2.0, 3.0):
        desk.now = now
        trace.chunk()
    ended(trace)
    assert desk.spans()[0].events == (Event("first_chunk", 1_000_000_000),)


@pytest.mark.parametrize(("done", "names"), [
    (None, ["batch", "worker"]),
    (Done(0.0, (0.0, 0.0), (("inference", 0.0, 0.0),), "Prediction failed"), ["batch", "worker", "handler", "inference"]),
])  # fmt: skip
def test_a_batch_that_failed_says_so_in_the_spans_that_failed(done: Done | None, names: list[str]) -> None:
    desk = Desk()
    batch = BatchTrace([(begun(desk), 0.0)], formed(0.0))
    if done is not None:
        batch.answered(done)
    batch.end(0.0)
    spans = desk.spans()
    assert [span.name for span in spans] == names
    why = "the worker gave no answer" if done is None else "Prediction failed"
    assert [(span.status, span.failure) for span in spans if span.name != "inference"] == [(ERROR, why)] * min(
        3, len(names)
    )
    assert all(span.status == UNSET for span in spans if span.name == "inference")


def test_a_workers_clock_never_moves_its_spans_before_they_were_sent() -> None:
    desk = Desk()
    batch = BatchTrace([(begun(desk), 0.0)], formed(1.0))
    batch.answered(Done(100.0, (50.0, 40.0), ()))
    desk.now = 2.0
    batch.end(1.0)
    assert all(span.begin >= 1_000_000_000 and span.end >= span.begin for span in desk.spans())


def test_a_request_of_many_rows_has_a_bounded_number_of_spans() -> None:
    desk = Desk()
    trace = begun(desk)
    trace.queue(PAYLOAD, "m")
    for _ in range(MOST_RUNS + 5):
        BatchTrace([(begun(desk), 0.0), (trace, 0.0)], formed(0.0))
    ended(trace)
    assert len(desk.spans()) == 1 + 2 * MOST_RUNS


def test_what_no_queue_took_has_not_waited() -> None:
    desk = Desk()
    trace = begun(desk)
    trace.queue(PAYLOAD, "m")
    trace.refused()
    trace.failed(ValueError("full"))
    ended(trace)
    assert tree(desk.spans()) == ["POST /predictions/{model} 0-0"]


def test_a_step_waits_and_runs_by_itself_below_its_request() -> None:
    desk = Desk()
    trace = begun(desk, CALLER)
    trace.queue(PAYLOAD, "wf", "workflow")
    good, bad, late = (begin_step(trace, f"node {name}", {"k": name}) for name in ("good", "bad", "late"))
    assert good is not None
    assert bad is not None
    assert late is not None
    batch = BatchTrace([(good, 0.0)], formed(1.0))
    batch.answered(Done(1.0, (0.0, 1.0), ()))
    desk.now = 2.0
    batch.end(1.0)
    good.end()
    bad.refused(KeyError("full"))
    desk.now = 3.0
    late.end(left=True)
    late.end(ValueError("too late to tell"))
    ended(trace)
    spans = desk.spans()
    assert tree(spans) == [
        "POST /predictions/{model} 0-3", "  node late 0-3", "    queue 0-3", "  node bad 0-2", "  node good 0-2", "    queue 0-1",
        "    batch 1-2", "      worker 1-2", "        handler 1-2",
    ]  # fmt: skip
    by_name = {span.name: span for span in spans}
    assert {name: (span.status, span.failure) for name, span in by_name.items() if name.startswith("node")} == {
        "node good": (UNSET, ""), "node bad": (ERROR, "'full'"), "node late": (UNSET, ""),
    }  # fmt: skip
    assert by_name["node bad"].attributes == {"k": "bad", "error.type": "KeyError"}
    assert by_name["node late"].attributes == {"k": "late", "error.type": "cancelled"}
    assert by_name["POST /predictions/{model}"].attributes == {"k": "v", "torchserve.workflow.name": "wf"}
    assert {(span.trace_id, span.state) for span in spans} == {(CALLER.trace_id, "a=1")}


def test_calls_are_below_the_worker_and_linked_to_the_other_requests_of_the_batch() -> None:
    desk = Desk()
    first, second = begun(desk), begun(desk)
    batch = BatchTrace([(first, 0.0), (second, 0.0)], formed(0.0))
    desk.now = 1.0
    call = batch.call([first, second], {"torchserve.model.name": "other"})
    assert call is not None
    call.end()
    (span, _) = desk.spans()
    assert (span.name, span.trace_id, span.parent_id) == ("call", first.trace_id, batch.worker_id)
    assert span.links == (Link(second.trace_id, second.span_id),)


def test_steps_and_calls_are_bounded() -> None:
    desk = Desk()
    trace = begun(desk)
    batch = BatchTrace([(trace, 0.0)], formed(0.0))
    steps = [begin_step(trace, "node", {}) for _ in range(MOST_STEPS + 3)]
    calls = [batch.call([trace], {}) for _ in range(MOST_STEPS + 3)]
    assert steps.count(None) == calls.count(None) == 3
    assert begin_step(None, "node", {}) is None


def test_a_batch_that_never_began_is_in_no_trace() -> None:
    desk = Desk()
    first, second = begun(desk), begun(desk)
    BatchTrace([(first, 0.0), (second, 0.0)], formed(1.0)).withdraw()
    batch = BatchTrace([(first, 0.0)], formed(2.0))
    batch.answered(Done(0.0, (0.0, 0.0), ()))
    desk.now = 3.0
    batch.end(2.0)
    ended(first)
    assert tree(desk.spans()) == [
        "POST /predictions/{model} 0-3", "  queue 0-2", "  batch 2-3", "    worker 2-3", "      handler 2.5-2.5",
    ]  # fmt: skip
