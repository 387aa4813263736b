"""RpcPrediction: one prediction of a call, from its message to its reply, as http/predict/prediction.py is of HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from ...core.errors import HandlerFailed, TooLarge
from ...core.payload import Body, Reply
from ..shared_memory import load, store, streamed
from .client_wait import ClientWait
from .codec import Asked, RpcCodec, Steps
from .method import OpenCall
from .spans import begin, end
from .status import Code, RpcFailure

if TYPE_CHECKING:
    from ...core.dataplane import Ticket
    from ...core.oip.region_tensors import RegionTensors


_ALIGNED = 8  # bytes: of the largest elements


class Receiver(Protocol):
    """An interface for what takes the outcome of a prediction: its answer, or any number of pieces and then its end, or
    its failure, in the place of what is still to come.
    """

    def answer(self, reply: Reply, asked: Asked) -> None: ...

    def piece(self, reply: Reply, asked: Asked, *, last: bool) -> None: ...

    def ended(self, asked: Asked) -> None: ...

    def failed(self, error: BaseException, asked: Asked) -> None: ...


class RpcPrediction:
    """A prediction: the dataplane's sink. `streams` says whether the receiver takes the pieces of a streamed reply.

    A receiver that does not gets all pieces in one.
    """

    __slots__ = (
        "_asked",
        "_call",
        "_collected",
        "_over",
        "_payload",
        "_pieces",
        "_receiver",
        "_started",
        "_streams",
        "_tensors",
        "_ticket",
        "_told",
        "_trace",
        "_wait",
    )  # fmt: skip

    def __init__(
        self, call: OpenCall, receiver: Receiver, asked: Asked, *, streams: bool, ticket: Ticket | None = None
    ) -> None:
        """With `ticket` the request is queued already."""
        self._call = call
        self._receiver = receiver
        self._asked = asked
        self._payload = asked.payload
        self._tensors = asked.tensors
        self._streams = streams
        self._over = False
        self._told = False  # whether the receiver got a piece
        self._ticket = ticket
        self._wait: ClientWait | None = None
        self._pieces: list[Body] = []
        self._collected = 0  # bytes in them
        tracer = call.context.tracer
        self._trace = None if tracer is None else begin(tracer, call)
        self._started = perf_counter()

    def submit(self, steps: Steps | None = None) -> None:
        """Queue the request, once `steps` are taken and its inputs are read from shared memory: a step in each turn."""
        if self._tensors is not None:
            self._step(chain(steps or (), self._load(self._tensors)))
        elif steps is not None:
            self._step(self._counted(steps))
        else:
            self._queue()

    def _counted(self, steps: Steps) -> Steps:
        """Return these steps; until they are taken the inputs count as a body that arrives."""
        with self._call.context.dataplane.expect("", None) as arrival:
            arrival.grow(sum([len(part.body) for part in self._payload.parts]))
            yield from steps

    def _load(self, tensors: RegionTensors) -> Steps:
        """Return the steps that read the inputs from shared memory."""
        context, asked = self._call.context, self._asked
        model = asked.model or context.only_model()
        self._payload = yield from load(tensors, asked.payload, context.dataplane, model, asked.version)

    def _step(self, steps: Iterator[None]) -> None:
        """Take a step, or queue the request."""
        if self._over:
            return
        try:
            more = next(steps, True) is None
        except Exception as error:  # noqa: BLE001  (the client is owed a status, whatever broke)
            if self._trace is not None:
                self._trace.refused()
            self.fail(error)
            return
        if more:
            asyncio.get_running_loop().call_soon(self._step, steps)
        else:
            self._queue()

    def _queue(self) -> None:
        """Queue the request."""
        try:
            context, asked = self._call.context, self._asked
            model = asked.model or context.only_model()
            if self._trace is not None:
                self._payload = self._trace.queue(self._payload, model)
            self._ticket = context.dataplane.submit(model, asked.version, self._payload, self)
        except Exception as error:  # noqa: BLE001  (the client is owed a status, whatever broke)
            if self._trace is not None:
                self._trace.refused()
            self.fail(error)

    def cancel(self) -> None:
        """Take the request out of its model's queue, or stop its stream: the client has gone."""
        self._record(cancelled=True)
        ticket = self._close()
        if ticket is not None:
            ticket.cancel()

    def writable(self) -> None:
        """Let the worker go on: the client has room again."""
        wait, self._wait = self._wait, None
        if wait is not None:
            wait.taken()

    # ---- the dataplane's sink

    def chunk(self, item: object) -> None:
        """Hand on one piece of a streamed reply, or keep it until the reply is whole."""
        if self._over or not isinstance(item, Reply):
            return
        if self._trace is not None:
            self._trace.chunk()
        if self._tensors is not None and self._tensors.places.outputs:
            self._stop(streamed())
            return
        if not self._streams:
            self._collect(item)
            return
        self._told = True
        try:
            self._receiver.piece(item, self._asked, last=False)
        except Exception as error:  # noqa: BLE001  (as above: what a handler answers may be no message)
            self._stop(error)
            return
        if self._ticket is not None and self._wait is None and self._call.full:
            self._wait = ClientWait(self._ticket, self._call.context.limits, self._too_slow)

    def done(self, item: object) -> None:
        """Hand on the reply, or the last piece of a streamed one."""
        if self._over or not isinstance(item, Reply):
            return
        if self._tensors is not None and self._tensors.places.outputs:
            store(self._tensors, item, self._finish, self.fail)
        else:
            self._finish(item)

    def _finish(self, item: Reply) -> None:
        """Hand on what is left of the reply, and end."""
        if self._over:
            return
        ticket = self._close()
        if self._pieces:
            item = Reply(b"".join((*self._pieces, item.body)), headers=item.headers)
        try:
            if not self._told:
                self._receiver.answer(item, self._asked)
            else:
                if len(item.body):
                    self._receiver.piece(item, self._asked, last=True)
                self._receiver.ended(self._asked)
        except Exception as error:  # noqa: BLE001  (as above)
            if ticket is not None:
                ticket.failed(error)
            self._record(error)
            self._receiver.failed(error, self._asked)
            return
        if ticket is not None:
            took = perf_counter() - self._started
            ticket.succeeded(took)
            if self._trace is not None:
                ticket.exemplar(took, self._trace.trace_id)
        if self._trace is not None:
            self._record()

    def fail(self, error: BaseException) -> None:
        """Tell the receiver that the request failed with `error`."""
        if self._over:
            return
        if isinstance(error, HandlerFailed) and error.status == 200:
            # A handler raised PredictionException(code=200): TorchServe answers with these bytes.
            self.done(Reply(b"error"))
            return
        self._record(error)
        ticket = self._close()
        if ticket is not None:
            ticket.failed(error)
        self._receiver.failed(error, self._asked)

    # ---- below them

    def _record(self, error: BaseException | None = None, *, cancelled: bool = False) -> None:
        """End the trace, if the request is recorded."""
        trace, self._trace = self._trace, None
        if trace is not None:
            end(trace, self._call, self._asked, error, cancelled=cancelled)

    def _collect(self, item: Reply) -> None:
        self._collected += len(item.body)
        most = self._call.context.limits.max_unsent
        if self._collected <= most:
            self._pieces.append(item.body)
            return
        self._stop(TooLarge(f"The streamed answer has more than {most} bytes: ask for it with a streaming method."))

    def _too_slow(self) -> None:
        self._stop(RpcFailure(Code.CANCELLED, "The client took too little of the answer while its worker waited."))

    def _stop(self, error: Exception) -> None:
        """Cancel the job, and tell the receiver why."""
        self._record(error)
        ticket = self._close()
        if ticket is not None:
            ticket.cancel()
        self._receiver.failed(error, self._asked)

    def _close(self) -> Ticket | None:
        """Return the ticket, and let go of it: it refers to its sink, which is this object."""
        self._over = True
        ticket, self._ticket = self._ticket, None
        tensors, self._tensors = self._tensors, None
        if tensors is not None:
            tensors.release()
        wait, self._wait = self._wait, None
        if wait is not None:
            wait.end()
            if ticket is not None:
                ticket.release()
        return ticket


def room_for(call: OpenCall, codec: RpcCodec, beginning: memoryview, size: int) -> memoryview | None:
    """Return memory for a message of `size` bytes that begins so, where the workers of the model that it names read it.

    None if it does not name one there, or if there is none.
    """
    named = codec.locate(beginning)
    # An array whose address is no multiple of its elements' size would be copied by the worker.
    shift = -codec.tensor_at(beginning) % _ALIGNED
    room = None if named is None else call.context.dataplane.room(*named, size + shift)
    return None if room is None else room[shift : shift + size]
