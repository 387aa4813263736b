"""WorkflowTicket: one request on its way through a workflow.

A node's request is queued like any other of its model, so that it shares batches with all of them. Nodes run side by
side where the graph lets them. A request ends by exactly one call of its sink's `done` or `fail`; whatever else runs
of it then is cancelled, as it is when the client leaves.

    submit ─► start node ─► answered ─► the nodes that may start ─► … ─► all have answered ─► done
                   │  failed, timed out: try again, as often as the spec says                └► or fail
                   └► of no use to try again, or the last attempt: cancel the others, fail, naming the node
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..dataplane import DataPlane, Ticket
from ..errors import Broken, HandlerFailed, NodeFailed, RequestExpired, ServeError, TooLarge
from ..payload import Part, Payload, Reply, Scheduled
from .leaves import joined
from .node_error import of_node
from .run import Run
from .served import Served, model_of

if TYPE_CHECKING:
    from ...scheduler.job import Sink

_AT_ONCE = 64 << 10  # bytes: joining more is left to a thread


class WorkflowTicket:
    """A request that is on its way through a workflow. Its front door must call `cancel` if the client leaves."""

    __slots__ = ("_active", "_dataplane", "_deadline", "_loop", "_max_result", "_name", "_over", "_payload", "_run",
                 "_served", "_sink", "_spec", "_streaming")  # fmt: skip

    def __init__(
        self, dataplane: DataPlane, name: str, served: Served, payload: Payload, sink: Sink, max_result: int
    ) -> None:
        self._dataplane = dataplane
        self._name = name
        self._served = served
        self._spec = spec = served.spec
        self._payload = payload
        self._sink = sink
        self._max_result = max_result
        self._loop = asyncio.get_running_loop()
        self._deadline = math.inf if payload.timeout is None else self._loop.time() + payload.timeout
        self._run = Run(spec.graph)
        self._active: dict[str, _Attempt] = {}
        self._streaming: _Attempt | None = None
        self._over = False

    def begin(self) -> None:
        """Queue the request for the first node. Raises ServeError if that is refused."""
        self._served.running += 1
        try:
            self._start(self._spec.graph.start, self._payload.parts, 1)
        except ServeError:
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
        self._end()

    # ---- the nodes' side

    def _start(self, node: str, parts: tuple[Part, ...], number: int) -> None:
        """Queue an attempt of a node. Raises ServeError."""
        spec = self._spec.nodes[node]
        now = self._loop.time()
        left = self._deadline - now
        if left <= 0:
            raise self._expired(node)
        attempt = _Attempt(self, node, parts, number, now)
        timeout = None if left == math.inf else min(left, spec.timeout / 1000.0)
        payload = replace(self._payload, parts=parts, timeout=timeout)
        self._active[node] = attempt
        attempt.timer = self._loop.call_later(min(left, spec.timeout / 1000.0), self._late, attempt)
        try:
            attempt.submitted(self._dataplane.submit(model_of(self._name, node), None, payload, attempt))
        except ServeError as error:
            attempt.end()
            del self._active[node]
            raise of_node(error, self._name, node, number) from None

    def piece(self, attempt: _Attempt, reply: Reply) -> None:
        """Hand on a piece that a node streams to the client, if no other node's result belongs to the answer."""
        graph = self._spec.graph
        if len(graph.leaves) == 1 and attempt.node == graph.leaves[0]:
            self._streaming = attempt
            self._sink.chunk(reply)
            return
        attempt.pieces.append(reply.body)
        attempt.collected += len(reply.body)
        if attempt.collected > self._max_result:
            self._fail(TooLarge(self._too_large(f"Node {attempt.node}", attempt.collected)))

    def answered(self, attempt: _Attempt, reply: Reply) -> None:
        """Start the nodes that waited for this one, or answer the client."""
        node = attempt.node
        self._settle(attempt, None)
        leaf = not self._spec.graph.after[node]
        if reply.status >= 400 and not (leaf and len(self._spec.graph.leaves) == 1):
            told = HandlerFailed(f"its handler set the status {reply.status}", reply.status)
            self._fail(of_node(told, self._name, node, attempt.number))
            return
        if attempt.pieces:
            reply = Reply(b"".join((*attempt.pieces, reply.body)))
        ready = self._run.answered(node, reply)
        try:
            for following, parts in ready:
                self._start(following, parts, 1)
                if self._over:
                    return
        except ServeError as error:
            self._fail(error)
            return
        if self._run.over:
            self._conclude()

    def erred(self, attempt: _Attempt, error: Exception) -> None:
        """Try a node again, or end the request."""
        self._settle(attempt, error)
        spec = self._spec.nodes[attempt.node]
        meant = isinstance(error, HandlerFailed) and 400 <= error.status < 500  # what it refuses, it refuses again
        again = isinstance(error, Broken) and not meant and attempt.number <= spec.retries
        if not again or self._streaming is attempt:
            self._fail(of_node(error, self._name, attempt.node, attempt.number))
            return
        try:
            self._start(attempt.node, attempt.parts, attempt.number + 1)
        except ServeError as refused:
            self._fail(refused)

    def _late(self, attempt: _Attempt) -> None:
        """Give up an attempt that took too long."""
        attempt.end(cancel=True)
        self._active.pop(attempt.node, None)
        if self._loop.time() >= self._deadline - 1e-3:
            self._fail(self._expired(attempt.node))
            return
        spec = self._spec.nodes[attempt.node]
        self.erred(attempt, NodeFailed(f"it did not answer within {spec.timeout} ms (timeout-ms)"))

    def _settle(self, attempt: _Attempt, error: Exception | None) -> None:
        """Count the end of an attempt in the metrics of its model, and forget it."""
        ticket = attempt.end()
        self._active.pop(attempt.node, None)
        if ticket is not None:
            if error is None:
                ticket.succeeded(self._loop.time() - attempt.started)
            else:
                ticket.failed(error)

    def _conclude(self) -> None:
        leaves, results = self._spec.graph.leaves, self._run.results
        if len(leaves) == 1:
            self._end()
            self._sink.done(results[leaves[0]])
            return
        size = sum([len(results[leaf].body) for leaf in leaves])
        if size > self._max_result:
            self._fail(TooLarge(self._too_large(f"The results of the {len(leaves)} leaves together", size)))
        elif size <= _AT_ONCE:
            try:
                answer = joined(self._name, leaves, results)
            except NodeFailed as error:
                self._fail(error)
                return
            self._end()
            self._sink.done(answer)
        else:
            work = self._loop.run_in_executor(None, joined, self._name, leaves, results)
            work.add_done_callback(self._joined)

    def _joined(self, work: asyncio.Future[Reply]) -> None:
        if self._over or work.cancelled():
            return
        error = work.exception()
        self._end()
        if error is None:
            self._sink.done(work.result())
        elif isinstance(error, Exception):
            self._sink.fail(error)

    def _fail(self, error: Exception) -> None:
        if not self._over:
            self._end()
            self._sink.fail(error)

    def _end(self) -> None:
        """Take nothing any more, and cancel whatever still runs of this request."""
        if self._over:
            return
        self._over = True
        self._served.ended()
        active, self._active = list(self._active.values()), {}
        for attempt in active:
            attempt.end(cancel=True)

    def _expired(self, node: str) -> RequestExpired:
        allowed = round((self._payload.timeout or 0.0) * 1000)
        return RequestExpired(
            f"Workflow {self._name} did not answer within the {allowed} ms that this request has"
            f" (x-request-timeout-ms); it had come to node {node}."
        )

    def _too_large(self, what: str, size: int) -> str:
        return (
            f"{what} of workflow {self._name} made {size} bytes, and at most {self._max_result} are accepted"
            " (max_response_size)."
        )


class _Attempt:
    """An attempt of a node: the sink of its job."""

    __slots__ = ("_over", "_ticket_of", "collected", "node", "number", "parts", "pieces", "started", "ticket", "timer")

    def __init__(
        self, ticket_of: WorkflowTicket, node: str, parts: tuple[Part, ...], number: int, started: float
    ) -> None:
        self._ticket_of = ticket_of
        self._over = False
        self.node = node
        self.parts = parts
        self.number = number
        self.started = started
        self.ticket: Ticket | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.pieces: list[bytes | bytearray | memoryview] = []
        self.collected = 0

    def submitted(self, ticket: Ticket) -> None:
        """Keep the ticket of the job, which has been answered or cancelled already if `end` was called."""
        if self._over:
            ticket.cancel()
        else:
            self.ticket = ticket

    def end(self, *, cancel: bool = False) -> Ticket | None:
        """Take nothing any more. Return the ticket, which the caller has to end, or None if it is cancelled here."""
        self._over = True
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        ticket, self.ticket = self.ticket, None
        if cancel and ticket is not None:
            ticket.cancel()
            return None
        return ticket

    def chunk(self, item: object) -> None:
        if not self._over and isinstance(item, Reply):
            self._ticket_of.piece(self, item)

    def done(self, item: object) -> None:
        if not self._over and isinstance(item, Reply):
            self._ticket_of.answered(self, item)

    def fail(self, error: Exception) -> None:
        if not self._over:
            self._ticket_of.erred(self, error)
