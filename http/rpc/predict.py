"""The exchanges of predictions: one request with one answer or a streamed one, and many requests on one call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...core.errors import ServeError
from ...core.payload import Body, Reply
from .backlog import Backlog
from .codec import Asked, RpcCodec, Steps
from .method import OpenCall
from .prediction import RpcPrediction, room_for
from .status import RefusedMessage, status_of

if TYPE_CHECKING:
    from ...core.dataplane import Ticket


class PredictOne:
    """The exchange of one prediction. Unless `streams`, the call is answered with one message."""

    __slots__ = ("_call", "_codec", "_prediction", "_streams")

    def __init__(self, call: OpenCall, codec: RpcCodec, *, streams: bool = False) -> None:
        self._call = call
        self._codec = codec
        self._streams = streams
        self._prediction: RpcPrediction | None = None

    def room(self, beginning: memoryview, size: int) -> memoryview | None:
        """Return memory for a message that comes in pieces, where the model's workers read it."""
        return room_for(self._call, self._codec, beginning, size)

    def message(self, data: Body) -> None:
        """Submit the prediction."""
        asked = self._codec.decode(self._call, data)
        self.submit(asked, self._codec.check(asked))

    def submit(self, asked: Asked, steps: Steps | None) -> None:
        """Submit the prediction that a message asks for, once `steps` are taken."""
        self._prediction = RpcPrediction(self._call, self, asked, streams=self._streams)
        self._prediction.submit(steps)

    def go_on(self, asked: Asked, ticket: Ticket | None) -> RpcPrediction:
        """Return the prediction of a request that is queued with this ticket: whoever is its sink hands all on."""
        self._prediction = RpcPrediction(self._call, self, asked, streams=self._streams, ticket=ticket)
        return self._prediction

    def half_closed(self) -> None:
        """Go on: the answer does not depend on it."""

    def cancelled(self) -> None:
        """Give up the prediction."""
        prediction, self._prediction = self._prediction, None
        if prediction is not None:
            prediction.cancel()

    def writable(self) -> None:
        """Let the worker go on."""
        if self._prediction is not None:
            self._prediction.writable()

    # ---- the prediction's receiver

    def answer(self, reply: Reply, asked: Asked) -> None:
        """Send the answer, and end the call."""
        self._prediction = None  # the two refer to each other
        self._call.answer(self._codec.encode(reply, asked, last=True))

    def piece(self, reply: Reply, asked: Asked, *, last: bool) -> None:
        """Send the answer, or a piece of it."""
        self._call.send(self._codec.encode(reply, asked, last=last))

    def ended(self, asked: Asked) -> None:
        """End the call."""
        self._prediction = None
        self._call.finish()

    def failed(self, error: BaseException, asked: Asked) -> None:
        """End the call with the status of an error."""
        self._prediction = None
        self._call.fail(error)


class PredictMany:
    """The exchange of a call with many requests: each has its answers, or a message that tells of its failure.

    The answers come as the models give them. How many requests may wait is their queues' matter; while the client does
    not take its answers, its messages are not read.
    """

    __slots__ = ("_call", "_closed", "_codec", "_open", "_waiting")

    def __init__(self, call: OpenCall, codec: RpcCodec) -> None:
        self._call = call
        self._codec = codec
        self._open: dict[int, RpcPrediction] = {}  # by the id of what they ask for
        self._waiting = Backlog(call)
        self._closed = False

    def room(self, beginning: memoryview, size: int) -> memoryview | None:
        """Return memory for a message that comes in pieces, where the model's workers read it."""
        return room_for(self._call, self._codec, beginning, size)

    def message(self, data: Body) -> None:
        """Submit the next request."""
        if self._waiting.keeps(data):
            return
        try:
            asked = self._codec.decode(self._call, data)
        except (ServeError, RefusedMessage) as error:
            self._call.send(self._codec.error(status_of(error, self._codec.words), None))
            return
        prediction = RpcPrediction(self._call, self, asked, streams=True)
        self._open[id(asked)] = prediction
        prediction.submit(self._codec.check(asked))

    @property
    def idle(self) -> bool:
        """Whether all that was asked for is answered."""
        return not self._open and not self._waiting

    def half_closed(self) -> None:
        """End the call once all is answered."""
        self._closed = True
        self._end_if_done()

    def cancelled(self) -> None:
        """Give up all predictions."""
        for each in list(self._open.values()):
            each.cancel()
        self._open.clear()
        self._waiting.clear()

    def writable(self) -> None:
        """Let the workers go on, and read on."""
        for each in list(self._open.values()):
            each.writable()
        if self._waiting.hand_on(self.message):
            self._end_if_done()

    # ---- the predictions' receiver

    def answer(self, reply: Reply, asked: Asked) -> None:
        """Send the answer to a request."""
        self.piece(reply, asked, last=True)
        self.ended(asked)

    def piece(self, reply: Reply, asked: Asked, *, last: bool) -> None:
        """Send an answer, or a piece of one."""
        self._call.send(self._codec.encode(reply, asked, last=last))

    def ended(self, asked: Asked) -> None:
        """Note that a request was answered."""
        self._open.pop(id(asked), None)
        self._end_if_done()

    def failed(self, error: BaseException, asked: Asked) -> None:
        """Tell of a request's failure; the call goes on."""
        self._call.send(self._codec.error(status_of(error, self._codec.words), asked))
        self.ended(asked)

    def _end_if_done(self) -> None:
        if self._closed and self.idle:
            self._call.finish()
