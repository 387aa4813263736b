"""RemotePlane: the dataplane as an acceptor process has it: what a Prediction asks of it, it asks the main process."""

from __future__ import annotations

from contextlib import AbstractContextManager
from itertools import count
from typing import TYPE_CHECKING, Protocol, cast

from ..core.errors import ModelNotFound, ServeError, VersionNotFound
from ..core.payload import Payload, Reply, Scheduled
from .relay import (
    Answer,
    Book,
    Broke,
    Cancel,
    Expect,
    Forget,
    Learn,
    Message,
    Plain,
    Refused,
    Retract,
    Submit,
    Unsendable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .accesslog import Entry
    from .relay import Booked

_MOST_HEADS = 4096  # that are remembered


class Sink(Protocol):
    def chunk(self, item: object) -> None: ...
    def done(self, item: object) -> None: ...
    def fail(self, error: BaseException) -> None: ...


class RemoteTicket:
    """core.dataplane.Ticket: the main process has the true one, and its books."""

    __slots__ = ("_plane", "_scheduled", "number", "sink")

    def __init__(self, plane: RemotePlane, number: int, sink: Sink) -> None:
        self._plane = plane
        self._scheduled: Scheduled | None = None
        self.number = number
        self.sink = sink

    def answered(self, _seconds: float) -> None:
        self._plane.succeeded(self)

    def scheduled(self) -> Scheduled | None:
        return self._scheduled

    def failed(self, error: BaseException) -> None:
        self._plane.end(self, Unsendable(self.number, str(error)))

    def cancel(self) -> None:
        self._plane.end(self, Cancel(self.number))

    def take(self, message: Answer) -> None:
        if message.scheduled is not None:
            self._scheduled = Scheduled(*message.scheduled)
        reply = Reply(message.body, message.status, message.phrase, message.content_type, message.headers)
        if message.last:
            self.sink.done(reply)
        else:
            self.sink.chunk(reply)


class Expectation(AbstractContextManager[None]):
    """core.dataplane.Arrival. `refused` is called if there is no such model."""

    __slots__ = ("_model", "_number", "_plane", "_version", "refused")

    def __init__(self, plane: RemotePlane, number: int, model: str, version: str | None) -> None:
        self._plane = plane
        self._number = number
        self._model = model
        self._version = version
        self.refused: Callable[[ServeError], None] | None = None

    def __enter__(self) -> None:
        self._plane.expected[self._number] = self
        self._plane.say(Expect(self._number, self._model, self._version))

    def __exit__(self, *exc: object) -> None:
        if self._plane.expected.pop(self._number, None) is not None:
            self._plane.say(Retract(self._number))

    def refuse(self, *, version: bool) -> None:
        if self.refused is not None:
            named = version and self._version is not None
            self.refused(VersionNotFound(self._model, self._version or "") if named else ModelNotFound(self._model))


class RemotePlane:
    """`say` sends a message to the main process. It is also where an acceptor's access log and counts go."""

    def __init__(self, say: Callable[[Message], None]) -> None:
        self.say = say
        self.expected: dict[int, Expectation] = {}
        self._tickets: dict[int, RemoteTicket] = {}
        self._numbers = count(1)
        self._heads: dict[int, tuple[dict[str, str], str, int]] = {}
        self._succeeded = 0  # the request that the next entry is of

    # ---- as a DataPlane

    def startup_model(self) -> str:
        """The main process knows."""
        return ""

    def expect(self, model: str, version: str | None) -> Expectation:
        return Expectation(self, next(self._numbers), model, version)

    def room(self, _model: str, _version: str | None, _size: int) -> None:
        """What an acceptor receives goes to the main process first."""

    def submit(self, model: str, version: str | None, payload: Payload, sink: Sink) -> RemoteTicket:
        number = next(self._numbers)
        parts = tuple([(part.name, part.content_type, cast("bytes", part.body)) for part in payload.parts])
        head = self._head(model, version, payload)
        ticket = self._tickets[number] = RemoteTicket(self, number, sink)
        self.say(Submit(number, head, payload.request_id, parts))
        return ticket

    # ---- as a MetricStore and an access log

    def request(self, status: int) -> None:
        """Counted from its entry."""

    def access(self, entry: Entry) -> None:
        number, self._succeeded = self._succeeded, 0
        self.say(Book(cast("Booked", (number, *entry))))

    # ---- what comes back

    def succeeded(self, ticket: RemoteTicket) -> None:
        self._tickets.pop(ticket.number, None)
        self._succeeded = ticket.number

    def end(self, ticket: RemoteTicket, message: Message) -> None:
        if self._tickets.pop(ticket.number, None) is not None:
            self.say(message)

    def take(self, message: Plain | Answer | Broke | Refused) -> None:
        if type(message) is Refused:
            expectation = self.expected.get(message.number)
            if expectation is not None:
                expectation.refuse(version=message.version)
            return
        ticket = self._tickets.get(message.number)
        if ticket is None:
            return  # its client has gone
        if type(message) is Plain:
            ticket.sink.done(Reply(message.body))
        elif type(message) is Broke:
            del self._tickets[message.number]
            ticket.sink.fail(ServeError(message.why))
        elif type(message) is Answer:
            ticket.take(message)

    def _head(self, model: str, version: str | None, payload: Payload) -> int:
        """The number of what is the same in all requests of a connection that sends the same head again."""
        headers = payload.headers
        known = self._heads.get(id(headers))
        if known is not None and known[1] == model:
            return known[2]
        if len(self._heads) == _MOST_HEADS:
            self._heads.clear()
            self.say(Forget())
        number = next(self._numbers)
        self._heads[id(headers)] = (headers, model, number)  # held, so that no other headers get its id
        self.say(Learn(number, model, version, headers, payload.timeout, payload.priority))
        return number
