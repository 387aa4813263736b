"""PlainCall: a call of a method that takes one prediction and gives one answer, which does without objects of its own
for the prediction where nothing about it is special.

Of a million calls nearly all come whole, have their tensors in the message, and get one answer. For each of these a
Call, its Exchange and its RpcPrediction would hand every step on to one another, which takes as long as the steps. So
this call is the dataplane's sink itself. Whatever else a request turns out to be goes on as it would have begun:

    the message is not whole, is compressed or is empty ──► as Call
    tensors in shared memory, or steps to be taken      ──► PredictOne, before the request is queued
    the model streams its answer                        ──► PredictOne, with the ticket of the request
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from ...core.errors import HandlerFailed
from ...core.payload import Reply
from ..app_context import AppContext
from ..transport.http2.stream import Stream
from .call import Call
from .codec import Asked, RpcCodec
from .framing import only_message
from .method import CallHead, Method
from .predict import PredictOne
from .prediction import RpcPrediction
from .stall_watch import StallWatch

if TYPE_CHECKING:
    from ...core.dataplane import Ticket


class PlainCall(Call):
    """A call of a method that has a codec, and which is not recorded."""

    __slots__ = ("_asked", "_codec", "_prediction", "_ticket")

    def __init__(self, context: AppContext, stream: Stream, head: CallHead, watch: StallWatch, codec: RpcCodec) -> None:
        super().__init__(context, stream, head, watch)
        self._codec = codec
        self._asked: Asked | None = None
        self._ticket: Ticket | None = None
        self._prediction: RpcPrediction | None = None  # of an answer that is streamed

    def _begin(self, method: Method) -> None:
        """Queue the request that has come with the call's head."""
        stream, context = self._stream, self.context
        message = None if stream.whole is None else only_message(stream.whole, context.limits.max_request_size)
        if message is None:
            super()._begin(method)
            return
        stream.whole = None
        codec = self._codec
        try:
            asked = self._asked = codec.decode(self, message)
            steps = codec.check(asked)
            if steps is not None or asked.tensors is not None:
                exchange = PredictOne(self, codec)
                self._exchange = exchange
                exchange.submit(asked, steps)
                return
            model = asked.model or context.only_model()
            self._ticket = context.dataplane.submit(model, asked.version, asked.payload, self)
        except Exception as error:  # noqa: BLE001  (the client is owed a status, whatever broke)
            self.give_up(error)

    # ---- the dataplane's sink

    def chunk(self, item: object) -> None:
        """Gather a piece of a streamed answer."""
        if self.over or self._asked is None:
            return
        if self._prediction is None:
            exchange = PredictOne(self, self._codec)
            self._exchange = exchange
            ticket, self._ticket = self._ticket, None
            self._prediction = exchange.go_on(self._asked, ticket)
        self._prediction.chunk(item)

    def done(self, item: object) -> None:
        """Send the answer, and end the call."""
        if self.over or not isinstance(item, Reply):
            return
        prediction, self._prediction = self._prediction, None
        if prediction is not None:
            prediction.done(item)
            return
        ticket, self._ticket = self._ticket, None
        try:
            assert self._asked is not None
            self.answer(self._codec.encode(item, self._asked, last=True))
        except Exception as error:  # noqa: BLE001  (as above: what a handler answers may be no message)
            if ticket is not None:
                ticket.failed(error)
            super().fail(error)
            return
        if ticket is not None:
            ticket.succeeded(perf_counter() - self._started)

    def fail(self, error: BaseException) -> None:
        """End the call with the status of an error."""
        prediction, self._prediction = self._prediction, None
        if prediction is not None:
            prediction.fail(error)  # which fails this call, unless it has done so already
        if self.over:
            return
        if isinstance(error, HandlerFailed) and error.status == 200:
            self.done(Reply(b"error"))  # as in RpcPrediction.fail
            return
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ticket.failed(error)
        super().fail(error)

    def _cancel(self) -> None:
        self._prediction = None  # which its exchange cancels
        ticket, self._ticket = self._ticket, None
        if ticket is not None and not self.over:
            ticket.cancel()
        super()._cancel()
