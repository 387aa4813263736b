"""Requests of several rows: each row is a job of its own, their answers become one in order, and one that fails fails all."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve.core.dataplane import DataPlane
from torchserve.core.errors import BadRequest, HandlerFailed, QueueFull, ServeError, WorkerDied
from torchserve.core.models.registry import Registry
from torchserve.core.models.rows import RowJoin, cut, joined, rows_to_cut
from torchserve.core.oip.infer_answer import InferAnswer, read_answer, reply_of
from torchserve.core.oip.infer_request import InferRequest, Tensor, payload_of
from torchserve.core.oip.signature import Signature
from torchserve.core.payload import Payload, Reply

from ..doubles import Sink, model, slot

ROWS = Signature(batch_dimension=True)


def asked(*arrays: Any, **request: Any) -> Payload:
    tensors = [Tensor(f"x{at}", "FP32", each.shape, each.tobytes()) for at, each in enumerate(arrays)]
    return payload_of(InferRequest(tuple(tensors), **request), "r", {"a": "b"}, timeout=9.0, priority=2)


def answer(values: Any, *, name: str = "y", text: bool = False) -> Reply:
    array = np.array(values, "<f4")
    data = json.dumps(array.ravel().tolist()).encode() if text else array.tobytes()
    return reply_of(InferAnswer("m", "1.0", "i", (Tensor(name, "FP32", array.shape, data, text),)))


@given(st.integers(1, 9), st.integers(0, 5))
def test_rows_are_views_in_order(count: int, width: int) -> None:
    first, second = np.arange(count * width, dtype="<f4").reshape(count, width), np.arange(count, dtype="<f4")
    whole = asked(first, second, id="7", binary=True)
    rows = cut(whole, count)
    assert [[bytes(part.body) for part in row.parts] for row in rows] == [
        [first[index].tobytes(), second[index].tobytes()] for index in range(count)
    ]
    for index, row in enumerate(rows):
        assert row.infer is not None
        assert [head.shape for head in row.infer.inputs] == [(1, width), (1,)]
        assert (row.infer.id, row.infer.binary, row.request_id) == ("7", True, f"r.{index}")
        assert (row.headers, row.timeout, row.priority) == ({"a": "b"}, 9.0, 2)
        assert row.parts[0].body.obj is whole.parts[0].body  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("payload", "signature", "count"),
    [
        (asked(np.ones((3, 2), "<f4")), ROWS, 3),
        (asked(np.ones((3, 2), "<f4")), Signature(), 1),
        (asked(np.ones((3, 2), "<f4")), None, 1),
        (payload_of(InferRequest((Tensor("x", "BYTES", (2,), bytes(8)),)), "r"), ROWS, 1),
        (payload_of(InferRequest((Tensor("x", "FP32", (2,), b"[1, 2]", json=True),)), "r"), ROWS, 1),
        (Payload("r", ()), ROWS, 1),
    ],
)
def test_what_can_be_cut_is(payload: Payload, signature: Signature | None, count: int) -> None:
    assert rows_to_cut(payload, signature) == count


@given(st.permutations(range(5)), st.booleans())
def test_answers_are_joined_in_the_order_of_the_rows(order: list[int], text: bool) -> None:
    sink = Sink()
    join = RowJoin(sink, 5, lambda: pytest.fail("nothing has failed"))
    for index in order:
        assert sink.heard == []
        join.sinks[index].done(answer([[index, 10 * index]], text=text))
    ((kind, reply),) = sink.heard
    (output,) = read_answer(reply).outputs
    assert (kind, output.shape, output.json) == ("done", (5, 2), text)
    data = bytes(output.data)
    values = json.loads(data) if text else np.frombuffer(data, "<f4").tolist()
    assert values == [n for index in range(5) for n in (index, 10 * index)]


@pytest.mark.parametrize(
    "error", [HandlerFailed("bad", 418), WorkerDied("gone", out_of_memory=True), QueueFull("full")]
)
def test_one_failed_row_fails_the_request_with_its_number(error: ServeError) -> None:
    sink, cancelled = Sink(), []
    join = RowJoin(sink, 3, lambda: cancelled.append(1))
    join.sinks[0].done(answer([[1]]))
    join.sinks[2].fail(error)
    join.sinks[1].done(answer([[1]]))
    join.sinks[1].fail(HandlerFailed("late", 500))
    ((kind, found),) = sink.heard
    assert (kind, type(found), found.message) == ("fail", type(error), f"Row 2 of 3: {error.message[:99]}")
    assert getattr(found, "status", None) == getattr(error, "status", None)
    assert not error.message.startswith("Row"), "the error of other requests is left alone"
    assert cancelled == [1]


def test_a_row_with_a_status_of_its_own_is_the_answer() -> None:
    sink, cancelled = Sink(), []
    join = RowJoin(sink, 2, lambda: cancelled.append(1))
    join.sinks[1].done(Reply(b"no", 404))
    join.sinks[0].done(answer([[1]]))
    assert (sink.heard, cancelled) == ([("done", Reply(b"no", 404))], [1])


def test_a_streamed_row_fails_the_request() -> None:
    sink = Sink()
    RowJoin(sink, 2, list).sinks[0].chunk(answer([[1]]))
    assert "streams" in sink.heard[0][1].message


@pytest.mark.parametrize(
    "other",
    [
        answer([[1, 2]]),
        answer([[1]], name="z"),
        answer([[1]], text=True),
        answer(1.0),
        reply_of(InferAnswer("m", "1", "", ())),
    ],
)
def test_outputs_that_differ_are_not_joined(other: Reply) -> None:
    with pytest.raises(HandlerFailed, match="Row 1 of 2: its output 'y' can't be joined with that of row 0"):
        joined([read_answer(answer([[1]])), read_answer(other)])


def plane(queue: int) -> tuple[DataPlane, Any]:
    registry = Registry()
    subject = model(job_queue_size=queue, signature=ROWS)
    subject.pool.slots.append(slot())
    registry.add(subject)
    return DataPlane(registry, 10**9), subject


async def test_each_row_is_queued_and_a_client_that_leaves_takes_all_along() -> None:
    data, subject = plane(10)
    ticket = data.submit("m", None, asked(np.ones((4, 2), "<f4")), Sink())
    assert subject.scheduler.queued == 4
    ticket.cancel()
    assert subject.scheduler.queued == 0


async def test_a_request_is_queued_whole_or_not_at_all() -> None:
    data, subject = plane(10)
    data.submit("m", None, asked(np.ones((7, 2), "<f4")), Sink())
    with pytest.raises(QueueFull):
        data.submit("m", None, asked(np.ones((4, 2), "<f4")), Sink())
    assert subject.scheduler.queued == 7
    with pytest.raises(BadRequest, match=r"has 11 rows and model m queues at most 10 \(job_queue_size\)"):
        data.submit("m", None, asked(np.ones((11, 2), "<f4")), Sink())
    with pytest.raises(BadRequest, match="is the number of rows, 1 at least"):
        data.submit("m", None, asked(np.ones((0, 2), "<f4")), Sink())
    assert subject.scheduler.queued == 7
