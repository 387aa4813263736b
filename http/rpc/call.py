"""Call: one call of a method on one HTTP/2 stream: its frames, its deadline, its status, and its line in the log.

What a call means is its Exchange's. Whatever happens, a call has one status, one line in the access log and one count:
`_end` is the only place where it ends.
"""

from __future__ import annotations

import asyncio
from time import monotonic, perf_counter
from typing import cast

from ...core.dataplane import Arrival
from ...core.errors import ForeignSite, ServeError, SlowRequest
from ...core.payload import Body
from ..app_context import AppContext
from ..message.ids import fresh_id
from ..transport.http2.errors import StreamAborted
from ..transport.http2.stream import Fields, Stream
from .decompression import Decompression
from .framing import PREFIX, MessageReader, Room, Squeezed, frame, only_message
from .metadata import ACCEPTED
from .method import CallHead, Exchange, Method
from .stall_watch import StallWatch
from .status import (
    ANSWER,
    CONTENT,
    HEADERS_BLOCK,
    OK,
    OK_BLOCK,
    Code,
    RpcFailure,
    Status,
    counted_as,
    status_of,
    trailers_of,
)

_TORCHSERVE = "org.pytorch.serve."  # services whose clients know Java's names of errors


class Call:
    """A call: the handler of its stream, and the OpenCall of its Exchange, which may have a method `room`.

    `heard` is when something of a message came that is not whole, 0 if nothing was ever waited for.
    """

    __slots__ = (
        "_arrival", "_begun", "_counted", "_deadline", "_decompression", "_exchange", "_half_closed", "_idle_look",
        "_messages", "_reader", "_reading", "_started", "_stream", "_watch", "_withheld", "answer_fields", "context",
        "head", "heard", "id", "over", "trace_id",
    )  # fmt: skip

    def __init__(self, context: AppContext, stream: Stream, head: CallHead, watch: StallWatch) -> None:
        self.context = context
        self.heard = 0.0
        self._watch = watch
        self.head = head
        self.id = fresh_id()
        self.trace_id = ""  # of a call that is recorded
        self.answer_fields: tuple[tuple[str, str], ...] = ()
        self.over = False
        self._stream = stream
        self._started = perf_counter()
        self._begun = False  # whether the answer's head was sent
        self._messages = 0
        self._exchange: Exchange | None = None
        self._reader: MessageReader | None = None  # of a call whose message does not come whole and by itself
        self._reading = True
        self._decompression: Decompression | None = None  # while messages wait for it
        self._half_closed = False  # whether the client has ended its side meanwhile
        self._withheld = 0  # bytes that have come and for which the client may send no others yet
        self._arrival: Arrival | None = None  # while a message is not whole
        self._counted = 0  # bytes that the arrival has counted
        self._deadline: asyncio.TimerHandle | None = None
        self._idle_look: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Check the key, and begin; answer at once if the call is refused."""
        head, method = self.head, self.head.method
        token_auth = self.context.token_auth
        if token_auth is not None and not isinstance(head.refusal, ForeignSite):
            try:
                token_auth.check(method.scope if method is not None else "inference", head.fields)
            except ServeError as refused:  # which no variable keeps: it refers to this call by its traceback
                self.fail(refused)
                return
        if head.refusal is not None or method is None:
            self.fail(head.refusal or RpcFailure(Code.UNIMPLEMENTED, ""))
            return
        if head.timeout is not None:
            self._deadline = asyncio.get_running_loop().call_later(head.timeout, self._expire)
        self._begin(method)

    def _begin(self, method: Method) -> None:
        """Begin with what has come."""
        self._exchange = method.open(self)
        stream = self._stream
        whole, stream.whole = stream.whole, None
        if method.streams_in:
            self._until_drained()
        elif whole is None:
            self._await_more()
        if whole is not None:
            self._take_whole(whole)

    # ---- what the exchange calls

    @property
    def peer(self) -> object:
        return self._stream.peer

    def send(self, buffers: tuple[Body, ...]) -> None:
        """Send a message, in pieces that are not copied."""
        if self.over:
            return
        if not self._begun:
            self._begun = True
            self._stream.send_headers(HEADERS_BLOCK)
        size = len(buffers[0]) if len(buffers) == 1 else sum(map(len, buffers))
        self._stream.send((frame(size), *buffers))

    def answer(self, buffers: tuple[Body, ...]) -> None:
        """Send the only message, and end the call."""
        if self.over:
            return
        if self._begun or self.answer_fields:
            self.send(buffers)
            self.finish()
            return
        size = len(buffers[0]) if len(buffers) == 1 else sum(map(len, buffers))
        self._stream.send_answer(ANSWER, (b"\0" + size.to_bytes(4), *buffers), size + PREFIX)  # as `frame` does
        self._end(Code.OK)

    def finish(self, status: Status = OK) -> None:
        """End the call with a status, behind all messages."""
        if self.over:
            return
        if self._begun:
            plain = status is OK and not self.answer_fields
            self._stream.send_trailers(OK_BLOCK if plain else [*trailers_of(status), *self.answer_fields])
        else:  # one header block is all of the answer
            accepted = [("grpc-accept-encoding", ACCEPTED)] if status.code == Code.UNIMPLEMENTED else []
            self._stream.send_trailers(
                [(":status", "200"), CONTENT, *accepted, *trailers_of(status), *self.answer_fields]
            )
        self._end(status.code)

    def fail(self, error: BaseException) -> None:
        """End the call with the status of an error."""
        if not self.over:
            method = self.head.method
            self.finish(status_of(error, "java" if method is None or method.service.startswith(_TORCHSERVE) else "oip"))

    def read_on(self, *, on: bool) -> None:
        """Let the client send more, or not: what it may send already comes in any case."""
        self._reading = on
        if on and self._withheld:
            withheld, self._withheld = self._withheld, 0
            self._stream.consumed(withheld)

    @property
    def full(self) -> bool:
        """Whether the client has more to take than a streamed answer may be ahead of it."""
        return self._stream.full

    @property
    def draining(self) -> bool:
        """Whether the server stops: a call that could go on for ever should end soon."""
        return self._stream.draining or self.context.draining

    # ---- what the connection calls: StreamHandler

    def _take_whole(self, body: Body) -> None:
        """Take the body of a call that has come as one piece, which nearly always is one message."""
        message = only_message(body, self.context.limits.max_request_size)
        if message is None:
            self.data_received(body)
            self.ended(())
            return
        self._messages = 1
        exchange = self._exchange
        assert exchange is not None
        try:
            exchange.message(message)
            if not self.over:
                exchange.half_closed()
        except Exception as error:  # noqa: BLE001  (the client is owed a status, whatever broke)
            self.give_up(error)

    def data_received(self, data: Body) -> None:
        """Take a piece of the body."""
        if self._reading or self.over:
            self._stream.consumed(len(data))
        else:
            self._withheld += len(data)
        if self.over or self._exchange is None:
            return
        try:
            reader = self._reader or self._read()
            messages = reader.feed(data)
            self._count(reader.held, waits=not (messages or self._messages or self._streams_in))
            for each in messages:
                self._take(each)
        except Exception as error:  # noqa: BLE001  (the client is owed a status, whatever broke)
            self.give_up(error)

    def _take(self, message: Body | Squeezed) -> None:
        """Take a message, unless it has to wait until it, or one before it, is decompressed."""
        self._messages += 1
        if self._messages > 1 and not self._streams_in:
            raise RpcFailure(Code.INTERNAL, "This method takes one message, and the call has several.")
        if self._decompression is not None:
            self._decompression.add(message)
        elif isinstance(message, Squeezed):
            self._decompression = Decompression(self)
            self._decompression.begin(message)
        else:
            self.hand_on(message)

    def hand_on(self, message: Body) -> None:
        """Give a message to the exchange, unless the call has ended."""
        if self._exchange is not None:
            self._exchange.message(message)

    def all_handed_on(self) -> None:
        """Note that no message waits to be decompressed any more."""
        self._end_decompression()
        if self._half_closed:
            self.ended(())

    def _end_decompression(self) -> None:
        if self._decompression is not None:
            self._decompression.close()
            self._decompression = None

    def ended(self, trailers: Fields) -> None:
        """Note that the client sends nothing more."""
        if self.over or self._exchange is None:
            return
        if self._decompression is not None:
            self._half_closed = True
            return
        if self._unfinished:
            self.give_up(RpcFailure(Code.INTERNAL, "The call ended within a message."))
        elif not self._messages and not self._streams_in:
            self.give_up(RpcFailure(Code.INTERNAL, "This method takes one message, and the call has none."))
        else:
            try:
                self._exchange.half_closed()
            except Exception as error:  # noqa: BLE001  (as above)
                self.give_up(error)

    def aborted(self, error: StreamAborted) -> None:
        """Note that the client has gone, or cancelled the call."""
        self._cancel()
        self._end(Code.CANCELLED)

    def writable(self) -> None:
        """Note that the client has room again."""
        if self._exchange is not None and not self.over:
            self._exchange.writable()

    # ---- what ends a call early

    def give_up(self, error: BaseException) -> None:
        """End the call with the status of an error, and what was begun for it."""
        if not self.over:
            self._cancel()
            self.fail(error)

    def _expire(self) -> None:
        self._cancel()
        self.finish(Status(Code.DEADLINE_EXCEEDED, "The call's deadline (grpc-timeout) has passed."))

    def _until_drained(self) -> None:
        """End a call of many messages once the server stops and nothing is asked for: its client may never end it."""
        if self.over:
            return
        if self.draining and self._idle:
            self._cancel()
            self.finish(Status(Code.UNAVAILABLE, "The server is stopping."))
            return
        self._idle_look = asyncio.get_running_loop().call_later(self.context.limits.health_look, self._until_drained)

    def _cancel(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None and not self.over:
            exchange.cancelled()

    # ---- a message that comes in pieces

    def _read(self) -> MessageReader:
        """Return the reader of this call's messages, which is made when it is first needed."""
        made = MessageReader(self.context.limits.max_request_size, coding=self.head.coding, room=self._room)
        self._reader = made
        return made

    @property
    def _idle(self) -> bool:
        """Whether no message waits or is on its way, and all that the client has asked for is answered."""
        waits = self._unfinished or self._decompression is not None
        return not waits and getattr(self._exchange, "idle", True)

    @property
    def _unfinished(self) -> bool:
        """Whether a message has begun and is not whole."""
        return self._reader is not None and self._reader.unfinished

    @property
    def _streams_in(self) -> bool:
        return self.head.method is not None and self.head.method.streams_in

    def _room(self, beginning: memoryview, size: int) -> memoryview | None:
        """Return memory for a message where the model's workers can read it, if the exchange knows any."""
        room = cast("Room | None", getattr(self._exchange, "room", None))
        return None if room is None else room(beginning, size)

    def _count(self, held: int, *, waits: bool) -> None:
        """Count the bytes of a message that is not whole, and see that the rest of it comes. Raises ServerFull.

        `waits`: a message has to come, even if none has begun.
        """
        if waits or self._unfinished:
            self._await_more()
        else:
            self._watch.leave(self)
        if not held:
            self._leave_arrival()
            return
        if self._arrival is None:
            self._arrival = self.context.dataplane.expect("", None)
            _ = self._arrival.__enter__()
        self._arrival.grow(held - self._counted)
        self._counted = held

    def _await_more(self) -> None:
        self.heard = monotonic()
        self._watch.join(self)

    def stalled(self, seconds: float) -> None:
        """Give up the call, of whose message nothing came for so long."""
        self.give_up(SlowRequest(f"Nothing of the request's message came for {seconds:g} s."))

    def _leave_arrival(self) -> None:
        if self._arrival is not None:
            self._arrival.__exit__()
            self._arrival = None
            self._counted = 0

    def _end(self, code: Code) -> None:
        if self.over:
            return
        self.over = True
        self._exchange = self._reader = None  # each refers to the call: a cycle would wait for the garbage collector
        if self._decompression is not None:
            self._end_decompression()
        if self.heard:
            self._leave_arrival()
            self._watch.leave(self)
        if self._deadline is not None:
            self._deadline.cancel()
        if self._idle_look is not None:
            self._idle_look.cancel()
        took, number = perf_counter() - self._started, int(code)
        self.context.called(
            self.head.path, self._stream.peer, number, counted_as(number), took, (self.id, self.trace_id)
        )
