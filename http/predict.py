"""What happens to a prediction, whichever protocol read it: head -> Payload -> dataplane -> answer bytes -> books.

Nothing here awaits; a Prediction is the dataplane's sink and writes to an Outlet, which a protocol provides.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from ..core.errors import HandlerFailed, ServeError
from ..core.payload import Body, Part, Payload, Reply
from .asked import Asked, check_size
from .auth import Scope
from .errors import error_reply
from .ids import fresh_id
from .inference import only_model
from .reply import BODILESS, Letterhead, reply_head, stream_head, with_scheduling
from .request import Head
from .services import Services

if TYPE_CHECKING:
    from ..core.dataplane import Arrival, Ticket

log = logging.getLogger(__name__)

CLIENT_GONE = 499  # in the books only: nobody is left to get an answer
SCOPE: Scope = "inference"
_LONGEST_NAME = 1024  # bytes


class Outlet(Protocol):
    """Where answer bytes go. `last` comes exactly once; then `keep` says whether the connection may be used again.

    A streamed answer that breaks off ends with no bytes and without `keep`: its client sees the end missing.
    """

    def send(self, buffers: tuple[Body, ...], *, last: bool, keep: bool) -> None: ...

    @property
    def more(self) -> bool:
        """Whether another request is here, behind this one."""
        ...

    @property
    def full(self) -> bool:
        """Whether the client has more to take than a streamed answer may be ahead of it."""
        ...

    def until_taken(self, remaining: Callable[[], float], go_on: Callable[[], None]) -> None:
        """Call `go_on` when the client has taken some of that; end it if that takes longer than `remaining` says."""


class Prediction:
    """One prediction. A protocol calls `open`, then `submit` with the whole body, or `fail`; or `abandon` at any time.

    `over` is True once the answer was sent or the client has gone; further calls then do nothing.
    """

    __slots__ = ("_outlet", "_services", "_started", "_streaming", "_ticket", "asked", "id", "over")

    def __init__(self, services: Services, asked: Asked, outlet: Outlet) -> None:
        self._services = services
        self._outlet = outlet
        self._ticket: Ticket | None = None
        self._streaming: int | None = None  # the status that a streamed answer began with
        self._started = perf_counter()
        self.asked = asked
        self.id = fresh_id()
        self.over = False

    def open(self, *, unread: bool = False) -> None:
        """Look at the head; answers at once if that is wrong. `unread`: the body, or some of it, is not here yet."""
        services, asked = self._services, self.asked
        try:
            if not asked.found:
                services.admit(asked.head, SCOPE, asked.reach)
            if services.guard is not None:
                services.guard.check(SCOPE, asked.fields)
            if not asked.found:
                asked.find(services.limits, decode=services.decode_input)
        except ServeError as error:
            self.fail(error, unread=unread)

    def expect(self) -> Arrival:
        """Receive a body that is still arriving within this context. Raises ModelNotFound or VersionNotFound."""
        return self._services.dataplane.expect(self.asked.model, self.asked.version)

    def room(self, size: int) -> memoryview | None:
        """Where to receive that body, if its model has a place for it. Raises as `expect` does."""
        asked = self.asked
        return self._services.dataplane.room(asked.model, asked.version, size) if asked.model else None

    def submit(self, body: Body) -> None:
        """Hand the request to its model."""
        services, asked = self._services, self.asked
        try:
            check_size(len(body), services.limits.max_request_size)
            steps = asked.parts_slowly(body, services.limits)
            if steps is None:
                self._hand_on(body, asked.parts(body, services.limits))
            else:
                self._split(body, steps)
        except Exception as error:  # noqa: BLE001  (the client is owed an answer, whatever broke)
            self.fail(error)

    def _split(self, body: Body, steps: Generator[None, None, tuple[Part, ...]]) -> None:
        """Take one of the steps in a turn of the loop, unless the client has gone."""
        if self.over:
            return
        try:
            next(steps)
        except StopIteration as ended:
            self._hand_on(body, ended.value)
        except Exception as error:  # noqa: BLE001  (as above)
            self.fail(error)
        else:
            asyncio.get_running_loop().call_soon(self._split, body, steps)

    def _hand_on(self, body: Body, parts: tuple[Part, ...]) -> None:
        services, asked = self._services, self.asked
        try:
            payload = Payload(self.id, parts, asked.headers_of(body), asked.timeout, asked.priority)
            model = asked.model or _named(parts) or only_model(services)
            self._ticket = services.dataplane.submit(model, asked.version, payload, self)
        except Exception as error:  # noqa: BLE001  (the client is owed an answer, whatever broke)
            self.fail(error)

    def abandon(self) -> None:
        """The client has gone."""
        if self.over:
            return
        if self._ticket is not None:
            self._ticket.cancel()
        self._close_books(CLIENT_GONE)

    # ---- the dataplane's sink

    def chunk(self, item: object) -> None:
        """One piece, a Reply, of a streamed answer."""
        if self.over or not isinstance(item, Reply):
            return
        if self._streaming is not None:
            if len(item.body):  # an empty chunk would end the answer
                self._outlet.send(self._framed(item.body), last=False, keep=True)
        elif _sendable(item):
            self._streaming = item.status
            head = stream_head(
                self._explained(item), self.id, keep=self._keep(streamed=True), chunked=self.asked.head.http11,
                letterhead=self._services.letterhead,
            )  # fmt: skip
            body = self._framed(item.body) if len(item.body) else ()
            self._outlet.send((head, *body), last=False, keep=True)
        else:
            self.fail(_unsendable(item))
            return
        if self._ticket is not None and self._outlet.full:
            self._outlet.until_taken(self._ticket.hold, self._ticket.release)

    def done(self, item: object) -> None:
        """The whole answer, a Reply, or the last piece of a streamed one."""
        if self.over or not isinstance(item, Reply):
            return
        if self._streaming is not None:
            self._end_stream(item)
        elif _sendable(item):
            self._answer(item, keep=self._keep(), succeeded=True)
        else:
            self.fail(_unsendable(item))

    def fail(self, error: BaseException, *, unread: bool = False) -> None:
        """An error is the answer. `unread`: its body may still be on the way, so the connection ends behind it."""
        if self.over:
            return
        if self._ticket is not None:
            self._ticket.failed(error)
        if self._streaming is None:
            self._answer(error_reply(error), keep=self._keep() and not unread)
            return
        log.warning("a streamed answer of model %s broke off: %s", self.asked.model, error)
        self._close_books(500)
        self._outlet.send((), last=True, keep=False)

    # ---- within

    def _keep(self, *, streamed: bool = False) -> bool:
        """Whether the connection outlives this answer. HTTP/1.0 knows no chunks: there it ends a streamed answer."""
        ends = self._services.draining and not self._outlet.more
        return self.asked.head.keep_alive and not ends and (self.asked.head.http11 or not streamed)

    def _framed(self, body: Body) -> tuple[Body, ...]:
        return (b"%x\r\n" % len(body), body, b"\r\n") if self.asked.head.http11 else (body,)

    def _explained(self, reply: Reply) -> Reply:
        """With headers that say how it was scheduled, if the settings ask for them and it ran at all."""
        if not self._services.scheduling_headers or self._ticket is None:
            return reply
        scheduled = self._ticket.scheduled()
        return reply if scheduled is None else with_scheduling(reply, scheduled)

    def _answer(self, reply: Reply, *, keep: bool, succeeded: bool = False) -> None:
        reply = self._explained(reply)
        self._close_books(reply.status, succeeded=succeeded)
        buffers = answer_buffers(reply, self.id, self.asked.head, self._services.letterhead, keep=keep)
        self._outlet.send(buffers, last=True, keep=keep)

    def _end_stream(self, reply: Reply) -> None:
        self._close_books(self._streaming or 200, succeeded=True)
        body = self._framed(reply.body) if len(reply.body) else ()
        tail = (*body, b"0\r\n\r\n") if self.asked.head.http11 else body
        self._outlet.send(tail, last=True, keep=self._keep(streamed=True))

    def _close_books(self, status: int, *, succeeded: bool = False) -> None:
        self.over = True
        took = perf_counter() - self._started
        if self._streaming is not None and self._ticket is not None:
            self._ticket.release()
        if succeeded and self._ticket is not None:
            self._ticket.answered(took)
        self._ticket = None  # it knows its sink, which is this: a cycle that only the garbage collector would find
        self._services.answered(self.asked.head, status, took, self.id)


def answer_buffers(
    reply: Reply, request_id: str, head: Head, letterhead: Letterhead, *, keep: bool
) -> tuple[Body, ...]:
    """Head and body of a whole answer. HEAD gets no body: sent, it would be taken for the next answer (a departure)."""
    start = reply_head(reply, request_id, keep=keep, letterhead=letterhead)
    if head.method == "HEAD" or reply.status in BODILESS:
        return (start,)
    return (start, reply.body)


def _named(parts: tuple[Part, ...]) -> str:
    """The model that a form's field names; "" if none does. No model has a name that is longer than what is read."""
    return next((str(part.body[:_LONGEST_NAME], "utf-8", "replace") for part in parts if part.name == "model_name"), "")


def _sendable(reply: Reply) -> bool:
    return 200 <= reply.status <= 599


def _unsendable(reply: Reply) -> HandlerFailed:
    return HandlerFailed(f"The handler set the HTTP status {reply.status}; it must be 200 to 599.", 500)
