"""WorkerCalls: the calls of one worker's handler to other models, and what its process is told of them.

    process ─ Call ─► _begin ─► CallPlane.begin ─► answered ─┐
                        │ refused              ├► failed ───┼─► Called ─► process
                        └──────────────────────┼► too late ─┤
                                CallCancel, end of the batch┘

Each Call is answered by one Called, whatever becomes of it, so that the process never waits in vain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ...scheduler.job import Batch, Job
from ...scheduler.model_scheduler import ModelScheduler
from ..errors import HandlerFailed, Kind, Overloaded, RequestExpired, ServeError, TooLarge, WorkerDied
from ..payload import Body, Part, Payload, Reply
from ..wire.frames import encode
from ..wire.messages import Call, CallCancel, Called
from .call_plane import CallOrder, CallTicket
from .protocol_error import WorkerProtocolError
from .run import Run
from .worker_spec import WorkerSpec

CALLS: Final = (Call, CallCancel)
MOST_CALLS: Final = 1000  # open ones of one worker
_LEFT: Final = 499  # the status of a call that nobody waits for any more
_LONGEST_TEXT: Final = 1000  # bytes of an answer that is told as an error
_STATUS: Final[dict[Kind, int]] = {
    "not_found": 404,
    "invalid": 400,
    "conflict": 409,
    "denied": 403,
    "too_large": 413,
    "overloaded": 503,
    "expired": 504,
    "broken": 500,
}

Send = Callable[[list[Body]], None]


class OpenCall:
    """A call without an outcome yet: the sink of its job. Its timer ends it when its time is over."""

    __slots__ = ("_calls", "batch", "model", "number", "pieces", "size", "started", "ticket", "timer")

    def __init__(self, calls: WorkerCalls, number: int, batch: Batch, model: str, started: float) -> None:
        self._calls = calls
        self.number = number
        self.batch = batch
        self.model = model
        self.started = started
        self.ticket: CallTicket | None = None
        self.timer: asyncio.TimerHandle | None = None
        self.pieces: list[Body] = []
        self.size = 0

    def chunk(self, item: object) -> None:
        """Keep a piece of a streamed answer."""
        assert isinstance(item, Reply)
        self.pieces.append(item.body)
        self.size += len(item.body)
        self._calls.check_size(self)

    def done(self, item: object) -> None:
        """Tell the process the answer."""
        assert isinstance(item, Reply)
        self._calls.answered(self, item)

    def fail(self, error: Exception) -> None:
        """Tell the process the error."""
        self._calls.failed(self, error)


class WorkerCalls:
    """The open calls of one worker, by their numbers. `runs` are its batches; `send` writes a frame to its process."""

    def __init__(self, spec: WorkerSpec, scheduler: ModelScheduler, runs: Mapping[int, Run], send: Send) -> None:
        self.open: dict[int, OpenCall] = {}
        self._spec = spec
        self._plane = spec.calls
        self._scheduler = scheduler
        self._runs = runs
        self._send = send

    def ahead_of(self, batch: Batch | None) -> list[Batch]:
        """Return the batches that must end before `batch` can begin, or one that the worker has not got yet if None."""
        runs = [] if self._spec.load.asynchronous else [run.batch for run in self._runs.values()]
        return runs[: runs.index(batch)] if batch in runs else runs

    def receive(self, message: Call | CallCancel, bodies: Sequence[Body]) -> None:
        """Begin or end a call, as the process says. Raises WorkerProtocolError."""
        if isinstance(message, Call):
            self._begin(message, bodies)
        elif (call := self.open.get(message.call)) is not None:
            self.refuse(call, HandlerFailed(self._ended(call.model, "the handler cancelled it"), 499))

    def _begin(self, message: Call, bodies: Sequence[Body]) -> None:
        if message.call in self.open:
            raise WorkerProtocolError(f"a second call {message.call}")
        if len(message.parts) != len(bodies):
            raise WorkerProtocolError(f"{len(message.parts)} parts and {len(bodies)} bodies for a call")
        run = self._runs.get(message.batch)
        if run is None:
            self._tell(message.call, HandlerFailed(self._ended(message.model, "it has been answered"), 499))
            return
        batch = run.batch
        if message.row >= len(batch.jobs):
            raise WorkerProtocolError(f"a call for request {message.row} of {len(batch.jobs)}")
        jobs = batch.jobs if message.row < 0 else (batch.jobs[message.row],)
        loop = asyncio.get_running_loop()
        call = self.open[message.call] = OpenCall(self, message.call, batch, message.model, loop.time())
        try:
            self._queue(call, message, bodies, jobs)
        except ServeError as error:
            if self.open.pop(message.call, None) is not None:
                self._stop_timer(call)
                self._tell(message.call, error)

    def _queue(self, call: OpenCall, message: Call, bodies: Sequence[Body], jobs: tuple[Job, ...]) -> None:
        """Hand the call to the server. Raises ServeError."""
        # One for a client that has left goes on as long as others of its batch wait: the exception that the handler
        # would get, and most let pass, is the answer to all of them.
        if all(job.cancelled for job in call.batch.jobs):
            raise HandlerFailed(self._ended(call.model, "its client has left"), 499)
        if len(self.open) > MOST_CALLS or self._plane is None:
            raise Overloaded(
                f"{self._spec.name} can't call model {call.model}: it has {len(self.open) - 1} calls open, and"
                f" {MOST_CALLS if self._plane is not None else 0} may be. Wait for some of them first."
            )
        timeout = self._timeout(message, jobs)
        if timeout is not None:
            if timeout <= 0:
                raise self._late(call, timeout)
            call.timer = asyncio.get_running_loop().call_later(timeout, self._overdue, call, timeout)
        parts = zip(message.parts, bodies, strict=True)
        order = CallOrder(
            self._spec.load.model_name, call.batch, jobs, call.model, message.version or None,
            tuple([Part(head.name, head.content_type, body) for head, body in parts]), timeout,
            lambda error: self.refuse(call, error), self._runs[message.batch].trace,
        )  # fmt: skip
        ticket = self._plane.begin(order, call)
        if call.number in self.open:
            call.ticket = ticket
        else:  # it had its outcome at once
            ticket.cancel()

    def _timeout(self, message: Call, jobs: Sequence[Job]) -> float | None:
        """Return the seconds that a call may take: until the last of its requests must be answered, at most."""
        left = message.timeout or None
        limits = [(job, job.payload.timeout) for job in jobs if isinstance(job.payload, Payload)]
        if all(limit is not None for _, limit in limits):
            last = max(job.arrived + (limit or 0.0) for job, limit in limits) - self._scheduler.now()
            left = last if left is None else min(left, last)
        return left

    def answered(self, call: OpenCall, reply: Reply) -> None:
        """Tell the process an answer. One whose status is that of an error is an error there, too."""
        if self.open.get(call.number) is not call:
            return
        body = reply.body if not call.pieces else b"".join((*call.pieces, reply.body))
        if reply.status >= 400:
            text = bytes(body[:_LONGEST_TEXT]).decode("utf-8", "replace")
            told = HandlerFailed(f"Model {call.model} answered with the status {reply.status}: {text}", reply.status)
            self.failed(call, told)
            return
        ticket = self._close(call)
        if ticket is not None:
            ticket.succeeded(asyncio.get_running_loop().time() - call.started)
        self._send(encode(Called(call.number, reply.status, reply.content_type, reply.headers), [body]))

    def failed(self, call: OpenCall, error: Exception) -> None:
        """Tell the process that the called model failed, or could not be asked."""
        if self.open.get(call.number) is not call:
            return
        ticket = self._close(call)
        if ticket is not None:
            ticket.failed(error)
        self._tell(call.number, error)

    def refuse(self, call: OpenCall, error: Exception) -> None:
        """End a call with `error`, if it has no outcome yet."""
        if self.open.get(call.number) is not call:
            return
        ticket = self._close(call)
        if ticket is not None:
            ticket.cancel(None if status_of(error) == _LEFT else error)
        self._tell(call.number, error)

    def check_size(self, call: OpenCall) -> None:
        """End a call whose streamed answer is too large to be handed over whole."""
        most = self._spec.load.max_response_size
        if call.size > most:
            self.refuse(
                call,
                TooLarge(
                    f"Model {call.model} made {call.size} bytes, and at most {most} are handed to the model that called"
                    " it (max_response_size)."
                ),
            )

    def batch_ended(self, batch: Batch, why: str) -> None:
        """End the calls of a batch."""
        for call in [call for call in self.open.values() if call.batch is batch]:
            self.refuse(call, HandlerFailed(self._ended(call.model, why), 499))

    def taken(self, batch: Batch) -> None:
        """Note that the worker has got `batch` while another one waits for calls."""
        if self._plane is not None:
            self._plane.taken(batch)

    def close(self) -> None:
        """End all calls: the process is gone."""
        for call in list(self.open.values()):
            self.refuse(call, WorkerDied(f"{self._spec.name} has ended"))

    def _overdue(self, call: OpenCall, timeout: float) -> None:
        self.refuse(call, self._late(call, timeout))

    def _late(self, call: OpenCall, timeout: float) -> RequestExpired:
        return RequestExpired(
            f"Model {call.model} did not answer the call of model {self._spec.load.model_name} within the"
            f" {max(0, round(timeout * 1000))} ms that were left (the call's timeout, or x-request-timeout-ms)."
        )

    def _ended(self, model: str, why: str) -> str:
        return f"The call to model {model} was ended: it belongs to a request, and {why}."

    def _close(self, call: OpenCall) -> CallTicket | None:
        """Take no outcome any more. Return the ticket, which the caller must end."""
        del self.open[call.number]
        self._stop_timer(call)
        ticket, call.ticket = call.ticket, None
        return ticket

    @staticmethod
    def _stop_timer(call: OpenCall) -> None:
        if call.timer is not None:
            call.timer.cancel()

    def _tell(self, number: int, error: Exception) -> None:
        self._send(encode(Called(number, status_of(error), error=str(error) or type(error).__name__)))


def status_of(error: Exception) -> int:
    """Return the HTTP status of an error, for the handler that called."""
    if isinstance(error, HandlerFailed):
        return error.status
    if isinstance(error, WorkerDied) and error.out_of_memory:
        return 507
    return _STATUS[error.kind] if isinstance(error, ServeError) else 500
