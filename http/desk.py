"""Desk: the main process's side of one acceptor. Hands its requests to the dataplane, and what comes back to it."""

from __future__ import annotations

import logging
from time import perf_counter, time
from typing import TYPE_CHECKING, Any, cast

from ..core.errors import HandlerFailed, ModelNotFound, VersionNotFound
from ..core.payload import Part, Payload, Reply
from .accesslog import entry
from .errors import error_reply
from .inference import only_model
from .relay import (
    Answer,
    Book,
    Broke,
    Busy,
    Cancel,
    Expect,
    Forget,
    Handed,
    Holds,
    Learn,
    Link,
    Message,
    Plain,
    Ready,
    Refused,
    Retract,
    Submit,
    Told,
    ToMain,
    Unsendable,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from ..core.dataplane import Ticket
    from .services import Services


class Relayed:
    """The dataplane's sink of a request that an acceptor has read."""

    __slots__ = ("_desk", "_number", "_streaming", "head", "over", "request_id", "started", "ticket")

    def __init__(self, desk: Desk, message: Submit, head: Learn) -> None:
        self._desk = desk
        self._number = message.number
        self.head = head
        self.request_id = message.request_id
        self._streaming = False
        self.over = False
        self.started = perf_counter()
        self.ticket: Ticket | None = None

    def chunk(self, item: object) -> None:
        if isinstance(item, Reply):
            self._send(item, last=False)
            self._streaming = True

    def done(self, item: object) -> None:
        if isinstance(item, Reply):
            self.over = True
            self._send(item, last=True)

    def fail(self, error: BaseException) -> None:
        if self._streaming:
            self._desk.say(Broke(self._number, str(error)))
        else:
            self._send(error_reply(error), last=True)
        ticket = self._desk.close(self._number)
        if ticket is not None:
            ticket.failed(error)

    def _send(self, reply: Reply, *, last: bool) -> None:
        plain = reply.status == 200 and not (reply.headers or reply.content_type or reply.phrase)
        explain = self._desk.explains and not self._streaming
        if plain and last and not explain:
            self._desk.say(Plain(self._number, cast("bytes", reply.body)))
            return
        scheduled = self.ticket.scheduled() if explain and self.ticket is not None else None
        how = scheduled and (
            scheduled.queued, scheduled.batch_size, scheduled.cause, scheduled.worker, scheduled.device,
            scheduled.handler,
        )  # fmt: skip
        self._desk.say(
            Answer(
                self._number, last, cast("bytes", reply.body), reply.status, reply.phrase, reply.content_type,
                reply.headers, how,
            )
        )  # fmt: skip

    def end(self) -> None:
        """Its client has gone, or its acceptor."""
        ticket, self.ticket = self.ticket, None
        if ticket is None:
            return
        if self.over:  # the answer met nobody
            ticket.answered(perf_counter() - self.started)
        else:
            ticket.cancel()


class Desk:
    """`adopt` gets what was said on each connection that is no longer the acceptor's."""

    def __init__(self, services: Services, adopt: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        self._services = services
        self._adopt = adopt
        self._gone = lost
        self._heads: dict[int, Learn] = {}
        self._open: dict[int, Relayed] = {}
        self._arrivals: dict[int, AbstractContextManager[None]] = {}
        self._told: dict[type, Callable[[Any], None]] = {
            Ready: self._ready, Learn: self._learn, Forget: self._forget, Submit: self._submit, Expect: self._expect,
            Retract: self._retract, Cancel: self._cancel, Unsendable: self._unsendable, Book: self._book,
            Handed: self._handed, Busy: self._busy, Holds: self._holds, Told: self._log,
        }  # fmt: skip
        self.explains = services.scheduling_headers
        self.link: Link[ToMain] = Link(ToMain, self._take, self._lost)
        self.say: Callable[[Message], None] = self.link.say
        self.ready = False
        self.busy = False  # of use while it drains
        self.holds = 0  # how many sets of keys it has taken over
        self.gone = False

    @property
    def open(self) -> int:
        """Requests that the acceptor has sent, without an answer."""
        return len(self._open)

    def close(self, number: int) -> Ticket | None:
        """The request is over; its ticket, for whoever books that."""
        relayed = self._open.pop(number, None)
        if relayed is None:
            return None
        ticket, relayed.ticket = relayed.ticket, None  # a cycle that only the garbage collector would find
        return ticket

    def _take(self, message: ToMain) -> None:
        self._told[type(message)](message)

    def _lost(self) -> None:
        """Only its own connections are lost with it."""
        self.gone, self.busy = True, False
        for relayed in self._open.values():
            relayed.end()
            self._book_lost(relayed)
        for arrival in self._arrivals.values():
            arrival.__exit__(None, None, None)
        self._open.clear()
        self._arrivals.clear()
        self._gone()

    # ---- requests

    def _learn(self, message: Learn) -> None:
        self._heads[message.head] = message

    def _forget(self, _message: Forget) -> None:
        self._heads.clear()

    def _submit(self, message: Submit) -> None:
        head = self._heads[message.head]
        parts = tuple([Part(*row) for row in message.parts])
        payload = Payload(message.request_id, parts, head.headers, head.timeout, head.priority)
        relayed = self._open[message.number] = Relayed(self, message, head)
        try:
            model = head.model or only_model(self._services)
            ticket = self._services.dataplane.submit(model, head.version, payload, relayed)
        except Exception as error:  # noqa: BLE001  (the client is owed an answer, whatever broke)
            relayed.fail(error)
        else:
            relayed.ticket = ticket

    def _expect(self, message: Expect) -> None:
        try:
            arrival = self._services.dataplane.expect(message.model, message.version)
        except (ModelNotFound, VersionNotFound) as error:
            self.say(Refused(message.number, isinstance(error, VersionNotFound)))
            return
        arrival.__enter__()
        self._arrivals[message.number] = arrival

    def _retract(self, message: Retract) -> None:
        arrival = self._arrivals.pop(message.number, None)
        if arrival is not None:
            arrival.__exit__(None, None, None)

    def _cancel(self, message: Cancel) -> None:
        relayed = self._open.pop(message.number, None)
        if relayed is not None:
            relayed.end()

    def _unsendable(self, message: Unsendable) -> None:
        ticket = self.close(message.number)
        if ticket is not None:
            ticket.failed(HandlerFailed(message.why, 500))

    def _book(self, message: Book) -> None:
        number, _, _, _, _, status, took, _, _ = booked = message.entry
        if number:
            ticket = self.close(number)
            if ticket is not None:
                ticket.answered(took)
        self._services.metrics.request(status)
        self._services.access(entry(booked[1:]))

    def _book_lost(self, relayed: Relayed) -> None:
        """Who asked, and in which words, only the acceptor knew."""
        head = relayed.head
        named = "/".join(filter(None, (head.model, head.version)))
        target = f"/predictions/{named}" if named else "/invocations"
        took = perf_counter() - relayed.started
        self._services.metrics.request(500)
        self._services.access(entry((time(), "", "POST", target, 500, took, True, relayed.request_id)))

    # ---- the rest

    def _handed(self, message: Handed) -> None:
        self._adopt(message.data)

    def _ready(self, _message: Ready) -> None:
        self.ready = True

    def _busy(self, message: Busy) -> None:
        self.busy = message.busy

    def _holds(self, _message: Holds) -> None:
        self.holds += 1

    def _log(self, message: Told) -> None:
        logging.getLogger(message.name).log(message.level, "%s", message.text)
