"""Prediction: takes one prediction from its head to its answer, whichever protocol read it.

It makes a Payload of the body, submits that to the dataplane with itself as the sink, writes the answer to the
ResponseWriter that the protocol provides, and counts and logs it. Nothing here awaits.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from ...core.errors import ForeignSite, HandlerFailed, ServeError
from ...core.payload import Body, Payload, Reply
from ..app_context import AppContext
from ..message.deflate import AT_ONCE, compressed, worth_compressing
from ..message.ids import fresh_id
from ..message.reply import unless_known, with_scheduling, with_trace
from ..message.request import Head
from ..shared_memory import load, store, streamed
from .codecs.codec import Decoded, Steps
from .predict_request import SCOPE, PredictRequest, check_size
from .spans import CLIENT_GONE, told_of

if TYPE_CHECKING:
    from ...core.dataplane import Arrival, Ticket
    from ...core.oip.region_tensors import RegionTensors
    from ...core.workflows.ticket import WorkflowTicket

log = logging.getLogger(__name__)


class ResponseWriter(Protocol):
    """An interface to write an answer to a connection, whatever version of HTTP that speaks.

    An answer is one call of `answer`; or `begin`, any number of `piece`, and `end` or, where no end comes, `break_off`.
    """

    def answer(self, head: Head, reply: Reply, request_id: str, *, unread: bool) -> None:
        """Write a whole answer. With `unread` not all of the body was received, nor will be."""

    def begin(self, head: Head, reply: Reply, request_id: str) -> None:
        """Write the head of a streamed answer, and its first piece, which may be empty."""

    def piece(self, head: Head, body: Body) -> None:
        """Write a piece of a streamed answer, which may be empty."""

    def end(self, head: Head, body: Body) -> None:
        """Write the last piece of a streamed answer, which may be empty."""

    def break_off(self) -> None:
        """End a streamed answer so that the client sees its end missing."""

    @property
    def full(self) -> bool:
        """Whether the client has more bytes to take than a streamed answer may be ahead of it."""
        ...

    def until_taken(self, remaining: Callable[[], float], go_on: Callable[[], None]) -> None:
        """Call `go_on` when the client has taken some of its answer; end one that takes longer than `remaining`."""


class Prediction:
    """A prediction. A protocol calls `open`, then `submit` with the whole body or `fail`, and `abandon` at any time.

    `over` is True once the answer was sent or the client has left; further calls then do nothing.
    """

    __slots__ = (
        "_context",
        "_started",
        "_streaming",
        "_tensors",
        "_ticket",
        "_trace",
        "_writer",
        "id",
        "over",
        "request",
    )

    def __init__(self, context: AppContext, request: PredictRequest, writer: ResponseWriter) -> None:
        self._context = context
        self._writer = writer
        self._ticket: Ticket | WorkflowTicket | None = None
        self._tensors: RegionTensors | None = None  # those in shared memory
        self._streaming: int | None = None  # the status that a streamed answer began with
        tracer = context.tracer
        self._trace = None if tracer is None else tracer.begin(request.parent)
        self._started = perf_counter()
        self.request = request
        self.id = fresh_id()
        self.over = False

    def open(self, *, unread: bool = False) -> None:
        """Check the key, and answer at once if the head is refused. `unread`: not all of the body has arrived."""
        refusal = self.request.refusal
        token_auth = self._context.token_auth
        try:
            if token_auth is not None and not isinstance(refusal, ForeignSite):
                token_auth.check(SCOPE, self.request.fields)
        except ServeError as error:  # which no variable keeps: it refers to this request by its traceback
            self.fail(error, unread=unread)
            return
        if refusal is not None:
            self.fail(refusal, unread=unread)

    def expect(self) -> Arrival:
        """Return the context within which to receive a body. Raises ModelNotFound or VersionNotFound."""
        read = self.request.read
        return self.request.plane.expect(read.model, read.version)

    def submit(self, body: Body) -> None:
        """Decode the body, and submit the request to its model."""
        context, request = self._context, self.request
        try:
            if len(body) > context.limits.max_request_size:
                check_size(len(body), context.limits.max_request_size)
            decoded = request.codec.decode(request.read, body, self.id, context.limits)
            if isinstance(decoded, tuple) and len(decoded) == 2 and self._trace is None:
                model, payload = decoded  # as nearly all are, which so go on without a further call
                self._ticket = request.plane.submit(model or context.only_model(), request.read.version, payload, self)
                return
        except Exception as error:  # noqa: BLE001  (the client is owed an answer, whatever broke)
            self.fail(error)
            return
        if isinstance(decoded, tuple):
            self._hand_on(decoded)
        else:
            self._decode(decoded)

    def _decode(self, steps: Steps) -> None:
        """Take one step of decoding per turn of the loop, unless the client has left."""
        if self.over:
            steps.close()
            return
        try:
            next(steps)
        except StopIteration as ended:
            self._hand_on(ended.value)
        except Exception as error:  # noqa: BLE001  (as above)
            self.fail(error)
        else:
            asyncio.get_running_loop().call_soon(self._decode, steps)

    def _hand_on(self, decoded: Decoded) -> None:
        try:
            if len(decoded) == 3:
                self._tensors = decoded[2]
                self._decode(self._load(*decoded))
                return
            model, payload = decoded
            model = model or self._context.only_model()
            if self._trace is not None:
                payload = self._trace.queue(payload, model, "workflow" if self.request.read.of_workflow else "model")
            self._ticket = self.request.plane.submit(model, self.request.read.version, payload, self)
        except Exception as error:  # noqa: BLE001  (the client is owed an answer, whatever broke)
            if self._trace is not None:
                self._trace.refused()
            self.fail(error)

    def _load(self, model: str, payload: Payload, tensors: RegionTensors) -> Steps:
        """Return the steps that read the inputs from shared memory."""
        model = model or self._context.only_model()
        payload = yield from load(tensors, payload, self._context.dataplane, model, self.request.read.version)
        return model, payload

    def abandon(self) -> None:
        """Take the request out of its model's queue: the client has left."""
        if self.over:
            return
        if self._ticket is not None:
            self._ticket.cancel()
        self._close_books(CLIENT_GONE)

    # ---- the dataplane's sink

    def chunk(self, item: object) -> None:
        """Send one piece, a Reply, of a streamed answer."""
        if self.over or not isinstance(item, Reply):
            return
        if self._tensors is not None and self._tensors.places.outputs:
            self.fail(streamed())
            return
        if self._trace is not None:
            self._trace.chunk()
        item = self._encoded(item)
        if self._streaming is not None:
            self._writer.piece(self.request.head, item.body)
        elif 200 <= item.status <= 599:
            self._streaming = item.status
            self._writer.begin(self.request.head, self._explained(item), self.id)
        else:
            self.fail(_unsendable(item))
            return
        if self._ticket is not None and self._writer.full:
            self._writer.until_taken(self._ticket.hold, self._ticket.release)

    def done(self, item: object) -> None:
        """Send the whole answer, a Reply, or the last piece of a streamed answer."""
        if self.over or not isinstance(item, Reply):
            return
        if self._streaming is not None:
            self._end_stream(self._encoded(item))
        elif not 200 <= item.status <= 599:
            self.fail(_unsendable(item))
        elif self._tensors is not None and self._tensors.places.outputs:
            store(self._tensors, item, self._stored, self.fail)
        else:
            if self._trace is not None:
                self._trace.answered(item.body)
            if self.request.codec.encode is not None or item.headers or self.request.read.coding:
                self._answer_encoded(self._encoded(item))
            else:
                self._answer(item, succeeded=True)

    def _stored(self, item: Reply) -> None:
        """Send the whole answer, whose outputs are in shared memory by now."""
        if not self.over:
            self._answer_encoded(self._encoded(item))

    def fail(self, error: BaseException, *, unread: bool = False) -> None:
        """Answer with an error. With `unread` the body may still be arriving, so the connection ends then."""
        if self.over:
            return
        if self._ticket is not None:
            self._ticket.failed(error)
        if self._trace is not None:
            self._trace.failed(error)
        if self._streaming is None:
            self._answer(self.request.codec.error(error), unread=unread)
            return
        log.warning("a streamed answer of model %s broke off: %s", self.request.read.model, error)
        self._close_books(500)
        last = self.request.codec.broken_off(error)
        if last is None:
            self._writer.break_off()
        else:
            self._writer.end(self.request.head, last)

    # ---- the answer

    def _encoded(self, reply: Reply) -> Reply:
        encode = self.request.codec.encode
        return reply if encode is None else encode(reply)

    def _answer_encoded(self, reply: Reply) -> None:
        """Answer with `reply`, compressed if the client asks for that: a large one by a thread."""
        if reply.headers and "if-none-match" in self.request.fields:
            reply = unless_known(reply, self.request.fields["if-none-match"])
        coding = self.request.read.coding
        if not coding or not worth_compressing(reply):
            self._answer(reply, succeeded=True)
        elif len(reply.body) <= AT_ONCE:
            self._answer(compressed(reply, coding), succeeded=True)
        else:
            work = asyncio.get_running_loop().run_in_executor(None, compressed, reply, coding)
            work.add_done_callback(self._compressed)

    def _compressed(self, work: asyncio.Future[Reply]) -> None:
        error = asyncio.CancelledError() if work.cancelled() else work.exception()
        if self.over:
            return
        if error is None:
            self._answer(work.result(), succeeded=True)
        else:
            self.fail(error)

    def _explained(self, reply: Reply) -> Reply:
        """Add headers that say how the request was scheduled, if the settings ask for them and it ran at all, and as
        what it was recorded, if its client records too.
        """
        if self._trace is not None:
            reply = with_trace(reply, self._trace.headers)
        if not self._context.scheduling_headers or self._ticket is None:
            return reply
        scheduled = self._ticket.scheduled()
        return reply if scheduled is None else with_scheduling(reply, scheduled)

    def _answer(self, reply: Reply, *, unread: bool = False, succeeded: bool = False) -> None:
        if self._trace is not None or self._context.scheduling_headers:
            reply = self._explained(reply)
        self._close_books(reply.status, succeeded=succeeded)
        self._writer.answer(self.request.head, reply, self.id, unread=unread)

    def _end_stream(self, reply: Reply) -> None:
        self._close_books(self._streaming or 200, succeeded=True)
        self._writer.end(self.request.head, reply.body)

    def _close_books(self, status: int, *, succeeded: bool = False) -> None:
        self.over = True
        took = perf_counter() - self._started
        if self._streaming is not None and self._ticket is not None:
            self._ticket.release()
        if succeeded and self._ticket is not None:
            self._ticket.succeeded(took)
            if self._trace is not None:
                self._ticket.exemplar(took, self._trace.trace_id)
        # The ticket refers to its sink, this object: the cycle would wait for the garbage collector.
        self._ticket = None
        if self._tensors is not None:
            self._tensors.release()
            self._tensors = None
        trace, self._trace = self._trace, None
        if trace is not None:
            trace.end(partial(told_of, self.request, status, self.id))
        self._context.answered(self.request.head, status, took, self.id, "" if trace is None else trace.trace_id)


def _unsendable(reply: Reply) -> HandlerFailed:
    return HandlerFailed(f"The handler set the HTTP status {reply.status}; it must be 200 to 599.", 500)
