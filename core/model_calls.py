"""ModelCalls: takes what handlers ask of other models to the DataPlane, and refuses what could never be answered."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator, Sequence
from typing import Final

from ..scheduler.job import Batch, Sink
from .call_cycle import Need, find_cycle
from .dataplane import DataPlane
from .errors import CallDeadlock, CallTooDeep, ServeError
from .models.model import Model
from .payload import Payload
from .ticket import Ticket
from .tracing.step_trace import StepTrace
from .workers.call_plane import CallOrder
from .workers.worker import Worker
from .workers.worker_slot import SlotState

MOST_CALLERS: Final = 8  # models that call one another, the first of them included


class ModelCall:
    """A call that waits for its outcome: its ticket, which is counted as any client's request is, and its trace."""

    def __init__(self, calls: ModelCalls, order: CallOrder, ticket: Ticket, trace: StepTrace | None) -> None:
        self._calls = calls
        self.order = order
        self.ticket = ticket
        self._trace = trace

    def succeeded(self, seconds: float) -> None:
        """Count the call as answered, `seconds` after it began."""
        self._calls.ended(self)
        self.ticket.succeeded(seconds)
        if self._trace is not None:
            self._trace.end()

    def failed(self, error: BaseException) -> None:
        """Count the call as failed with `error`."""
        self._calls.ended(self)
        self.ticket.failed(error)
        if self._trace is not None:
            self._trace.end(error)

    def cancel(self, error: Exception | None = None) -> None:
        """End the call: its answer is of no use any more."""
        self._calls.ended(self)
        self.ticket.cancel()
        if self._trace is not None:
            self._trace.end(error, left=True)


class ModelCalls:
    """The CallPlane of a server."""

    def __init__(self, dataplane: DataPlane) -> None:
        self._dataplane = dataplane
        self._open: dict[Batch, list[ModelCall]] = {}  # by the batch that waits for them

    def begin(self, order: CallOrder, sink: Sink) -> ModelCall:
        """Queue a request for another model. Raises ServeError, CallTooDeep and CallDeadlock among them."""
        payloads = [job.payload for job in order.jobs if isinstance(job.payload, Payload)]
        first = payloads[0]
        callers = (*max((payload.callers for payload in payloads), key=len), order.caller)
        if len(callers) > MOST_CALLERS:
            chain = " → ".join((*callers, order.model))
            raise CallTooDeep(
                f"Model {order.caller} may not call model {order.model}: at most {MOST_CALLERS} models call one another"
                f" for one request, and here are {chain}. Look for a loop in what their handlers call."
            )
        trace = _traced(order, payloads)
        payload = Payload(
            first.request_id,
            order.parts,
            first.headers,
            order.timeout,
            min(payload.priority for payload in payloads),
            trace=trace,
            callers=callers,
        )
        try:
            ticket = self._dataplane.submit_admitted(order.model, order.version, payload, sink)
            call = ModelCall(self, order, ticket, trace)
            cycle = self._cycle(call)
            if cycle is not None:
                ticket.cancel()
                raise self._deadlock(order, cycle)
        except ServeError as error:
            if trace is not None:
                trace.refused(error)
            raise
        self._open.setdefault(order.batch, []).append(call)
        return call

    def ended(self, call: ModelCall) -> None:
        """Forget a call."""
        calls = self._open.get(call.order.batch)
        if calls is not None and call in calls:
            calls.remove(call)
            if not calls:
                del self._open[call.order.batch]

    def taken(self, batch: Batch) -> None:
        """Refuse a call that came into a batch behind one that waits for the call's own caller."""
        for call in [call for calls in self._open.values() for call in calls if call.ticket.job.batch is batch]:
            cycle = self._cycle(call)
            if cycle is not None:  # not now: the scheduler is in the middle of handing over the batch
                asyncio.get_running_loop().call_soon(call.order.refuse, self._deadlock(call.order, cycle))

    def _cycle(self, call: ModelCall) -> list[str] | None:
        if call.ticket.job.batch is None and any(not worker.calls.open for worker in _serving(call.ticket.model)):
            return None  # as nearly always
        return find_cycle(call.order.batch, self._need(call), self._needs)

    def _needs(self, batch: Hashable) -> Sequence[Need]:
        """Return what a batch waits for: its calls, and the batches before it in its worker."""
        assert isinstance(batch, Batch)
        needs = [self._need(call) for call in self._open.get(batch, ())]
        runner = batch.runner
        if isinstance(runner, Worker) and (ahead := runner.calls.ahead_of(batch)):
            needs.append(Need(runner.name, [ahead]))
        return needs

    @staticmethod
    def _need(call: ModelCall) -> Need:
        model, batch = call.ticket.model, call.ticket.job.batch
        if batch is not None:
            return Need(model.name, [[batch]])
        options = [worker.calls.ahead_of(None) for worker in _serving(model)]
        if model.unloaded or model.pool.promising > len(options):
            options.append([])  # one that is to come
        return Need(model.name, options)

    @staticmethod
    def _deadlock(order: CallOrder, cycle: Sequence[str]) -> CallDeadlock:
        chain = " → ".join((order.caller, *cycle))
        if cycle[-1] != order.caller:
            chain = f"{chain} → {order.caller}"
        return CallDeadlock(
            f"Model {order.caller} may not call model {order.model} now: its answer would wait for a worker that waits"
            f" for this very call ({chain}). Give these models more workers, or make no circle of calls.",
            retry_after=1.0,
        )


def _traced(order: CallOrder, payloads: Sequence[Payload]) -> StepTrace | None:
    """Return the notes of a call, None if none of the requests that it is made for is recorded."""
    recorded = [payload.trace for payload in payloads if payload.trace is not None]
    if order.trace is None or not recorded:
        return None
    return order.trace.call(recorded, {"torchserve.model.name": order.model, "torchserve.caller": order.caller})


def _serving(model: Model) -> Iterator[Worker]:
    """Yield the workers that take batches of the model."""
    for slot in model.pool.slots:
        if slot.state is SlotState.READY and slot.worker is not None and not slot.worker.stopping:
            yield slot.worker
