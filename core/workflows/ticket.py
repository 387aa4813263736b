"""WorkflowTicket: one request on its way through a workflow.

A node's request is queued like any other of its model, so that it shares batches with all of them. Nodes run side by
side where the graph lets them. A request ends by exactly one call of its sink's `done` or `fail`; whatever else runs
of it then is cancelled, as it is when the client leaves.

    submit ─► start node ─► answered ─► the nodes that may start ─► … ─► all have answered ─► done
                   │  failed, timed out: try again, as often as the spec says                └► or fail
                   └► of no use to try again, or the last attempt: cancel the others, fail, naming the node

The request counts once against its client's limits, whatever the number of its nodes. What it keeps of answers until
the last node that a join waits for has answered counts in max_pending_bytes, as the bodies of requests do.

A timer is dear beside all else that a node costs, so that the request has one, for whichever of its attempts is due
first. It is left standing when that attempt ends, and looks again when it fires.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ..dataplane import DataPlane, Ticket
from ..errors import Broken, HandlerFailed, NodeFailed, NotFound, RequestExpired, ServeError, TooLarge
from ..payload import Body, Part, Payload, Reply, Scheduled
from ..tracing.step_trace import StepTrace, begin_step
from .leaves import joined
from .node_error import of_node
from .run import Run
from .served import Node, Served

if TYPE_CHECKING:
    from ...scheduler.job import Sink

_AT_ONCE = 64 << 10  # bytes: joining more is left to a thread
_EARLY = 1e-3  # s: loops may fire a timer a little before its time


class WorkflowTicket:
    """A request that is on its way through a workflow. Its front door must call `cancel` if the client leaves."""

    __slots__ = ("_active", "_began", "_dataplane", "_deadline", "_held", "_loop", "_max_result", "_over", "_payload",
                 "_quotas", "_run", "_served", "_sink", "_streaming", "_timer", "_timer_at")  # fmt: skip

    def __init__(self, dataplane: DataPlane, served: Served, payload: Payload, sink: Sink, max_result: int) -> None:
        self._dataplane = dataplane
        self._served = served
        self._payload = payload
        self._sink = sink
        self._max_result = max_result
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._deadline = math.inf if payload.timeout is None else self._began + payload.timeout
        self._run = Run(served.spec.graph)
        self._active: dict[str, _Attempt] = {}
        self._streaming: _Attempt | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = math.inf
        self._held = 0  # bytes
        self._quotas: Any = None
        self._over = False

    def begin(self) -> None:
        """Queue the request for the first node. Raises ServeError if that, or the client's limits, refuse it."""
        served = self._served
        start = served.nodes[served.spec.graph.start]
        served.requests += 1
        try:
            self._quotas = self._dataplane.admit(start.model, self._payload)
        except ServeError as error:
            served.failed[start.name] += 1
            if isinstance(error, NotFound):  # its model was removed without the workflow
                raise of_node(error, served.name, start.name) from None
            raise
        served.running += 1
        try:
            self._start(start, self._payload.parts, 1)
        except ServeError:
            served.failed[start.name] += 1
            self._end()
            raise

    # ---- the front door's side, as of dataplane.Ticket

    def succeeded(self, seconds: float) -> None:
        """Do nothing: each node has been counted by itself."""

    def exemplar(self, seconds: float, trace_id: str) -> None:
        """Do nothing: no histogram counts the request as a whole."""

    def failed(self, error: BaseException) -> None:
        """End what still runs: the front door could not send the answer."""
        self._end()

    def scheduled(self) -> Scheduled | None:
        """Return None: the request ran in several batches."""
        return None

    def hold(self) -> float:
        """Have the worker of a streaming leaf wait because the client reads slowly."""
        ticket = self._streaming and self._streaming.ticket
        return ticket.hold() if ticket else math.inf

    def release(self) -> None:
        """Let the worker go on after `hold`."""
        ticket = self._streaming and self._streaming.ticket
        if ticket:
            ticket.release()

    def cancel(self) -> None:
        """Cancel all nodes: the client has gone."""
        if not self._over:
            self._served.left += 1
        self._end()

    # ---- the nodes' side

    def _start(self, node: Node, parts: tuple[Part, ...], number: int) -> None:
        """Queue an attempt of a node. Raises ServeError."""
        now = self._loop.time()
        left = self._deadline - now
        if left <= 0:
            raise self._expired(node)
        allowed = min(left, node.timeout)
        attempt = self._active[node.name] = _Attempt(self, node, parts, number, now, now + allowed)
        if attempt.due < self._timer_at:
            self._watch(attempt.due)
        trace = None if self._payload.trace is None else self._traced(node, number)
        attempt.trace = trace
        payload = replace(self._payload, parts=parts, timeout=None if left == math.inf else allowed, trace=trace)
        try:
            attempt.submitted(self._dataplane.submit_admitted(node.model, None, payload, attempt))
        except ServeError as error:
            attempt.refused(error)
            del self._active[node.name]
            raise of_node(error, self._served.name, node.name, number) from None

    def _traced(self, node: Node, number: int) -> StepTrace | None:
        """Return the notes of an attempt of a recorded request, None if it has had too many."""
        told = {
            "torchserve.workflow.name": self._served.name,
            "torchserve.workflow.node": node.name,
            "torchserve.workflow.attempt": number,
        }
        return begin_step(self._payload.trace, f"node {node.name}", told)

    def piece(self, attempt: _Attempt, reply: Reply) -> None:
        """Hand on a piece that a node streams to the client, if no other node's result belongs to the answer."""
        if attempt.node.alone:
            self._streaming = attempt
            self._sink.chunk(reply)
            return
        attempt.pieces.append(reply.body)
        attempt.collected += len(reply.body)
        if attempt.collected > self._max_result:
            self._fail(TooLarge(self._too_large(f"Node {attempt.node.name}", attempt.collected)), attempt.node.name)

    def answered(self, attempt: _Attempt, reply: Reply) -> None:
        """Start the nodes that waited for this one, or answer the client."""
        node = attempt.node
        if reply.status >= 400 and not node.alone:
            told = HandlerFailed(f"its handler set the status {reply.status}", reply.status)
            self._settle(attempt, None, told)
            self._fail(of_node(told, self._served.name, node.name, attempt.number), node.name)
            return
        self._settle(attempt, None)
        if attempt.pieces:
            reply = Reply(b"".join((*attempt.pieces, reply.body)))
        run = self._run
        ready = run.answered(node.name, reply)
        if run.over:
            self._conclude()
            return
        at = node.name  # the node at which the request ends if it does
        try:
            if run.size != self._held:
                self._keep(node, run.size)
            for following, parts in ready:
                at = following
                self._start(self._served.nodes[following], parts, 1)
                if self._over:
                    return
        except ServeError as error:
            self._fail(error, at)

    def erred(self, attempt: _Attempt, error: Exception) -> None:
        """Try a node again, or end the request."""
        self._settle(attempt, error)
        node = attempt.node
        meant = isinstance(error, HandlerFailed) and 400 <= error.status < 500  # what it refuses, it refuses again
        again = isinstance(error, Broken) and not meant and attempt.number <= node.retries
        if not again or self._streaming is attempt:
            self._fail(of_node(error, self._served.name, node.name, attempt.number), node.name)
            return
        self._served.repeated[node.name] += 1
        try:
            self._start(node, attempt.parts, attempt.number + 1)
        except ServeError as refused:
            self._fail(refused, node.name)

    def _keep(self, node: Node, size: int) -> None:
        """Count the bytes that are kept for nodes to come. Raises ServerFull."""
        try:
            self._dataplane.keep(size - self._held)
        except ServeError as error:
            raise of_node(error, self._served.name, node.name) from None
        self._held = size

    def _watch(self, at: float) -> None:
        """Look for attempts that are due at `at`, by the loop's clock, and not later."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_at(at, self._look)

    def _look(self) -> None:
        """Give up the attempts that took too long, and wait for the next one that may."""
        self._timer, self._timer_at = None, math.inf
        now = self._loop.time() + _EARLY
        for attempt in [each for each in self._active.values() if each.due <= now]:
            if not self._over:
                self._late(attempt, now)
        next_due = min([each.due for each in self._active.values()], default=math.inf)
        if next_due < self._timer_at:
            self._watch(next_due)

    def _late(self, attempt: _Attempt, now: float) -> None:
        """Give up an attempt that took too long."""
        node = attempt.node
        late = NodeFailed(f"it did not answer within {round(node.timeout * 1e3)} ms (timeout-ms)")
        error = self._expired(node) if now >= self._deadline else late
        attempt.end(error, cancel=True)
        self._active.pop(node.name, None)
        if error is late:
            self.erred(attempt, error)
        else:
            self._fail(error, node.name)

    def _settle(self, attempt: _Attempt, error: Exception | None, told: Exception | None = None) -> None:
        """Count the end of an attempt in the metrics of its model, and forget it. Its trace has `error`, or what is
        `told` of an answer that the workflow can't use.
        """
        ticket = attempt.end(error or told)
        self._active.pop(attempt.node.name, None)
        if ticket is not None:
            if error is None:
                ticket.succeeded(self._loop.time() - attempt.started)
            else:
                ticket.failed(error)

    def _conclude(self) -> None:
        name, leaves, results = self._served.name, self._served.spec.graph.leaves, self._run.results
        if len(leaves) == 1:
            self._succeed(results[leaves[0]])
            return
        size = self._run.size
        if size > self._max_result:
            self._fail(TooLarge(self._too_large(f"The results of the {len(leaves)} leaves together", size)), leaves[-1])
        elif size <= _AT_ONCE:
            try:
                answer = joined(name, leaves, results)
            except NodeFailed as error:
                self._fail(error, leaves[-1])
                return
            self._succeed(answer)
        else:
            work = self._loop.run_in_executor(None, joined, name, leaves, results)
            work.add_done_callback(self._joined)

    def _joined(self, work: asyncio.Future[Reply]) -> None:
        if self._over or work.cancelled():
            return
        error = work.exception()
        if error is None:
            self._succeed(work.result())
        elif isinstance(error, Exception):
            self._fail(error, self._served.spec.graph.leaves[-1])
        else:
            self._end()

    def _succeed(self, answer: Reply) -> None:
        self._served.succeeded += 1
        self._served.latency.update(self._loop.time() - self._began)
        self._end()
        self._sink.done(answer)

    def _fail(self, error: Exception, node: str) -> None:
        if not self._over:
            self._served.failed[node] += 1
            self._end()
            self._sink.fail(error)

    def _end(self) -> None:
        """Take nothing any more, and cancel whatever still runs of this request."""
        if self._over:
            return
        self._over = True
        self._served.ended()
        if self._timer is not None:
            self._timer.cancel()
        if self._held:
            self._dataplane.keep(-self._held)
        if self._quotas is not None:
            self._dataplane.ended(self._quotas)
        self._streaming = None
        active, self._active = list(self._active.values()), {}
        for attempt in active:
            attempt.end(cancel=True)

    def _expired(self, node: Node) -> RequestExpired:
        allowed = round((self._payload.timeout or 0.0) * 1000)
        return RequestExpired(
            f"Workflow {self._served.name} did not answer within the {allowed} ms that this request has"
            f" (x-request-timeout-ms); it had come to node {node.name}."
        )

    def _too_large(self, what: str, size: int) -> str:
        return (
            f"{what} of workflow {self._served.name} made {size} bytes, and at most {self._max_result} are accepted"
            " (max_response_size)."
        )


class _Attempt:
    """An attempt of a node: the sink of its job. `started` and `due` are seconds on the loop's clock."""

    __slots__ = ("_over", "_request", "collected", "due", "node", "number", "parts", "pieces", "started", "ticket",
                 "trace")  # fmt: skip

    def __init__(
        self, request: WorkflowTicket, node: Node, parts: tuple[Part, ...], number: int, started: float, due: float
    ) -> None:
        self._request = request
        self._over = False
        self.node = node
        self.parts = parts
        self.number = number
        self.started = started
        self.due = due
        self.ticket: Ticket | None = None
        self.trace: StepTrace | None = None
        self.pieces: list[Body] = []
        self.collected = 0

    def submitted(self, ticket: Ticket) -> None:
        """Keep the ticket of the job, which has been answered or cancelled already if `end` was called."""
        if self._over:
            ticket.cancel()
        else:
            self.ticket = ticket

    def refused(self, error: ServeError) -> None:
        """Take nothing any more: no queue has taken the job."""
        if self.trace is not None:
            self.trace.refused(error)
        self.end()

    def end(self, error: Exception | None = None, *, cancel: bool = False) -> Ticket | None:
        """Take nothing any more. Return the ticket, which the caller has to end, or None if it is cancelled here."""
        self._over = True
        if self.trace is not None:
            self.trace.end(error, left=cancel)
        ticket, self.ticket = self.ticket, None
        if cancel and ticket is not None:
            ticket.cancel()
            return None
        return ticket

    def chunk(self, item: object) -> None:
        if not self._over and isinstance(item, Reply):
            self._request.piece(self, item)

    def done(self, item: object) -> None:
        if not self._over and isinstance(item, Reply):
            self._request.answered(self, item)

    def fail(self, error: Exception) -> None:
        if not self._over:
            self._request.erred(self, error)
