"""Run: a batch that a worker has and has not answered, and when its responseTimeout is over."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from ...scheduler.job import Batch
from ..tracing.batch_trace import BatchTrace, Done, Formed
from ..tracing.trace_notes import TraceNotes
from ..wire.messages import Answer, Load, Result, Row
from .protocol_error import WorkerProtocolError


class Latest(msgspec.Struct):
    """The requests of the batch that a worker has begun last, for what it prints. It keeps none of their bodies."""

    rows: Sequence[Row] = ()
    trace: BatchTrace | None = None

    def ids(self) -> tuple[str, str]:
        """Return the request ids, and the trace ids of those that are recorded, each joined by commas."""
        return ",".join([row.request_id for row in self.rows]), "" if self.trace is None else self.trace.trace_ids


class Run(msgspec.Struct, eq=False):
    """A batch in a worker. Times are by the loop's clock.

    It is a msgspec Struct since a worker makes one for each batch: a dataclass takes four times as long to make.
    """

    batch: Batch
    rows: Sequence[Row] = ()
    sent_at: float = 0.0
    due: float | None = None  # when it is overdue: None until it runs, infinite while that time stands still
    kept: Sequence[memoryview] = ()  # views that keep its bodies in shared memory while the process reads them
    left: float = 0.0  # seconds that it had at `stopped`
    stopped: float = 0.0  # when its time was last stopped
    streamed: bool = False  # whether a part of an answer has come
    head: Result | None = None  # that of the latest part, of a batch of one request that has had one
    waited: float = 0.0  # seconds in which its time stood still
    trace: BatchTrace | None = None  # of a batch with requests that are recorded

    def record(self, traces: Sequence[tuple[TraceNotes, float]], worker: str, load: Load) -> str:
        """Record the batch for these requests, each with its arrival. Return the traceparent of its work."""
        batch = self.batch
        attributes: dict[str, str | int] = {
            "torchserve.model.name": load.model_name,
            "torchserve.model.version": load.model_version,
            "torchserve.batch.size": len(batch.jobs),
            "torchserve.batch.cause": batch.reason.value,
            "torchserve.device": batch.runner.device,
        }
        self.trace = BatchTrace(traces, Formed(batch.formed, attributes, worker))
        return self.trace.parent

    def answered(self, answer: Answer) -> None:
        """Note when the worker did what, of a batch that is timed."""
        timing = self.batch.timing = answer.timing
        if self.trace is not None and timing is not None:
            failure = "" if answer.code == 200 else answer.message
            self.trace.answered(Done(timing.total, timing.handler, timing.hooks, failure))

    def withdraw(self) -> None:
        """Forget that the batch was handed over: it never began, and its requests are queued again."""
        if self.trace is not None:
            self.trace.withdraw()

    def stop(self, now: float) -> None:
        """Let its time stand still while the front doesn't read from the worker."""
        if self.due is not None and self.due < math.inf:
            self.left, self.stopped, self.due = self.due - now, now, math.inf

    def go_on(self, now: float) -> None:
        """Let its time go on, with what was left."""
        if self.due == math.inf:
            self.waited += now - self.stopped
            self.due = now + self.left

    def end(self) -> None:
        """Note that the batch has ended."""
        if self.trace is not None:
            self.trace.end(self.sent_at)


def expect(runs: Mapping[int, Run], number: int, results: Sequence[object] | None, bodies: Sequence[object]) -> Run:
    """Return the running batch that an answer is for. Raises WorkerProtocolError."""
    run = runs.get(number)
    if run is None or run.due is None:
        raise WorkerProtocolError(f"an answer to batch {number}, which it does not run")
    batch = run.batch
    if results is not None and not len(results) == len(bodies) == len(batch.jobs):
        raise WorkerProtocolError(f"{len(results)} results and {len(bodies)} bodies for {len(batch.jobs)} requests")
    return run
