"""CachedRequests: answers requests to models with a cache, and lets one that computes answer all that are alike.

    request ─► kept? ─► hit: answered on the loop's next turn
                └─► one like it computes? ─► shared: it waits for that one's answer
                     └─► kept by another server? (only with cache_redis) ─► hit
                          └─► miss: it computes (a Flight), and its answer is kept

A flight belongs to all who wait for it: it goes on until the last of them has left. A failure of the handler is the
answer to all of them. What failed for another reason (the first one's deadline, a full queue), and what may not be
shared (a stream, an answer for one client alone), says nothing about the others: each of them then goes its own way.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from time import monotonic
from weakref import WeakKeyDictionary

from msgspec.structs import replace

from ..scheduler.job import Job, Sink
from .errors import HandlerFailed, ServeError, WorkerDied
from .models.cache_key import cache_key
from .models.model import Model
from .models.response_cache import ResponseCache, for_one_only, labelled, wishes
from .models.token_demand import client_of
from .models.traffic import Traffic
from .payload import Payload, Reply
from .ticket import PendingBytes, Ticket

Begin = Callable[[Model, Payload, Sink, bool, "Traffic | None"], "list[Job]"]
_MOST_REMEMBERED = 1024  # keys whose answers may not be shared


class Flights:
    """The flights of one model version by key, and how many tickets wait for them."""

    def __init__(self) -> None:
        self.by_key: dict[bytes, Flight] = {}
        self.waiting = 0
        self._alone: OrderedDict[bytes, None] = OrderedDict()

    def goes_alone(self, key: bytes) -> bool:
        """Return whether the last answer under `key` could not be shared."""
        return key in self._alone

    def remember(self, key: bytes) -> None:
        """Have requests under `key` not wait for one another."""
        self._alone[key] = None
        if len(self._alone) > _MOST_REMEMBERED:
            self._alone.popitem(last=False)


class CachedTicket(Ticket):
    """The ticket of a request to a model with a cache: it computes, waits for one that does, or has its answer.

    `by` is the time by which the client needs its answer, None if any will do; it has left if `over`. If `tried`, the
    ticket has waited for a flight in vain.
    """

    __slots__ = ("_flight", "_payload", "_sink", "by", "over", "tried")

    def __init__(self, model: Model, payload: Payload, sink: Sink, pending: PendingBytes, *, named: bool) -> None:
        size = sum([len(part.body) for part in payload.parts])
        super().__init__(model, Job(payload.request_id, payload, sink), pending, size, named)
        self._payload = payload
        self._sink = sink
        self.by = None if payload.timeout is None else monotonic() + payload.timeout
        self._flight: Flight | None = None
        self.over = False
        self.tried = False

    def run_as(self, job: Job) -> None:
        """Go by `job`, which computes the answer."""
        self._job = job

    def answer(self, reply: Reply) -> None:
        """Give the whole answer, unless the client has left."""
        if not self.over:
            self._flight = None
            self._sink.done(reply)

    def fail(self, error: Exception) -> None:
        """Give the error, unless the client has left."""
        if not self.over:
            self._flight = None
            self._sink.fail(error)

    def cancel(self) -> None:
        """Record that the client has gone, and leave the flight."""
        flight, self._flight = self._flight, None
        self.over = True
        self._pending.held -= self._size
        self._model.metrics.cancelled(running=self._job.started is not None)
        if flight is not None:
            flight.leave(self)

    def board(self, flight: Flight) -> None:
        """Wait for the flight's outcome."""
        self._flight = flight
        flight.tickets.append(self)

    def may_wait_for(self, flight: Flight) -> bool:
        """Return whether the flight is at least as urgent as this request."""
        payload = flight.payload
        in_time = self.by is None or (flight.by is not None and flight.by <= self.by)
        return in_time and payload.priority <= self._payload.priority

    def left(self) -> Payload:
        """Return the request for another try, with the time that it has left."""
        self.tried = True
        if self.by is None:
            return self._payload
        return replace(self._payload, timeout=max(0.001, self.by - monotonic()))

    def stream(self, item: object) -> None:
        """Give a piece of a streamed answer."""
        self._sink.chunk(item)

    def end_stream(self, item: object) -> None:
        """Give the last piece of a streamed answer."""
        self._flight = None
        self._sink.done(item)


class Flight:
    """A computation, as the sink of its job, and the tickets that wait for it, of which the first leads."""

    def __init__(
        self, requests: CachedRequests, model: Model, cache: ResponseCache, key: bytes, payload: Payload, *, keeps: bool
    ) -> None:
        self.tickets: list[CachedTicket] = []
        self.jobs: list[Job] = []
        self.payload = payload
        self.by: float | None = None
        self._requests = requests
        self._model = model
        self._cache = cache
        self._key = key
        self._keeps = keeps
        self._streams = False
        self._purges = cache.purges
        self.epoch = b"" if cache.shared is None else cache.shared.epoch  # in which the computation begins

    def begun(self, jobs: list[Job]) -> None:
        """Go by these jobs. The leader's ticket tells of the first."""
        self.jobs = jobs
        if self.tickets:
            self.tickets[0].run_as(jobs[0])

    def chunk(self, item: object) -> None:
        """Pass on a piece of a streamed answer to the leader. It can't be shared: the others go their own ways."""
        if not self._streams:
            self._streams = True
            self._not_shared()
        for ticket in self.tickets:
            ticket.stream(item)

    def done(self, item: object) -> None:
        """Keep the answer, and give it to all tickets."""
        self._land()
        if self._streams or not isinstance(item, Reply):
            for ticket in self.tickets:
                ticket.end_stream(item)
            return
        if for_one_only(item):
            self._not_shared()
        kept = self._keeps and self._purges == self._cache.purges
        if kept:
            reply = self._cache.put(self._key, item, monotonic(), epoch=self.epoch)
        else:
            reply = labelled(item, "miss", None)
        self._give(reply)

    def found(self, reply: Reply, left: float) -> None:
        """Give an answer to all tickets that another server has kept, and which is good for `left` seconds."""
        self._land()
        if self._purges == self._cache.purges:
            reply = self._cache.put(self._key, reply, monotonic(), left)
        self._give(labelled(reply, "hit", left))

    def _give(self, reply: Reply) -> None:
        loop = asyncio.get_running_loop()
        tickets, self.tickets = self.tickets, []
        for ticket in tickets[1:]:  # each on a turn of its own: what one sink raises must not hurt the others
            loop.call_soon(ticket.answer, labelled(reply, "shared", None))
        for leader in tickets[:1]:
            leader.answer(reply)

    def left(self) -> Payload:
        """Return what is to be computed, with the time that is left for it."""
        if self.by is None:
            return self.payload
        return replace(self.payload, timeout=max(0.001, self.by - monotonic()))

    def fail(self, error: Exception) -> None:
        """Give the error to all tickets if the handler failed, else to the leader: the others try for themselves."""
        self._land()
        own = isinstance(error, (HandlerFailed, WorkerDied))
        tickets, self.tickets = self.tickets, []
        for ticket in tickets[1:]:
            if own or ticket.tried:
                asyncio.get_running_loop().call_soon(ticket.fail, error)
            else:
                asyncio.get_running_loop().call_soon(self._requests.again, self._model, ticket, False)
        for leader in tickets[:1]:
            leader.fail(error)

    def leave(self, ticket: CachedTicket) -> None:
        """Let a ticket go whose client has left; the last one takes the jobs along."""
        if ticket not in self.tickets:
            return
        if self.tickets[0] is not ticket:
            self._requests.flights(self._model).waiting -= 1
        elif len(self.tickets) > 1:
            self._requests.flights(self._model).waiting -= 1
            if self.jobs:
                self.tickets[1].run_as(self.jobs[0])
        self.tickets.remove(ticket)
        if not self.tickets:
            self._land()
            for job in self.jobs:
                self._model.scheduler.cancel(job)

    def _not_shared(self) -> None:
        """Have all but the leader go their own ways, and those who come later, too."""
        self._land()
        flights = self._requests.flights(self._model)
        flights.remember(self._key)
        others, self.tickets = self.tickets[1:], self.tickets[:1]
        for ticket in others:
            asyncio.get_running_loop().call_soon(self._requests.again, self._model, ticket, True)

    def _land(self) -> None:
        """Take no more tickets."""
        flights = self._requests.flights(self._model)
        if flights.by_key.get(self._key) is self:
            del flights.by_key[self._key]
            flights.waiting -= len(self.tickets) - 1 if self.tickets else 0


class CachedRequests:
    """The requests to models with a cache. `begin` queues one that computes."""

    def __init__(self, pending: PendingBytes, begin: Begin) -> None:
        self._pending = pending
        self._begin = begin
        self._flights: WeakKeyDictionary[Model, Flights] = WeakKeyDictionary()

    def flights(self, model: Model) -> Flights:
        """Return the flights of a model version."""
        return self._flights.setdefault(model, Flights())

    def submit(
        self, model: Model, payload: Payload, sink: Sink, *, named: bool, traffic: Traffic | None
    ) -> CachedTicket:
        """Answer a request from the cache, by another one's answer, or by computing it. Raises ServeError."""
        cache = model.cache
        assert cache is not None
        model.metrics.requested(named=named)
        may_read, may_keep = wishes(client_of(payload.headers, "cache-control"))
        found = cache_key(payload, cache.options.headers) if may_keep else None
        ticket = CachedTicket(model, payload, sink, self._pending, named=named)
        try:
            self._pending.hold(ticket.size)
        except ServeError as error:
            model.metrics.failed(error)
            raise
        try:
            if found is None:
                cache.results["bypass"] += 1
                self._alone(model, ticket, Flight(self, model, cache, b"", payload, keeps=False), traffic)
                return ticket
            key, seen = found
            kept = cache.get(key, monotonic()) if may_read else None
            if kept is not None:
                cache.results["hit"] += 1
                asyncio.get_running_loop().call_soon(ticket.answer, kept)
            else:
                self._compute(model, ticket, key, seen, traffic, share=may_read)
        except ServeError as error:
            self._pending.held -= ticket.size
            model.metrics.failed(error)
            raise
        return ticket

    def _compute(
        self,
        model: Model,
        ticket: CachedTicket,
        key: bytes,
        seen: Payload,
        traffic: Traffic | None,
        *,
        share: bool,
    ) -> None:
        """Wait for a flight with this key, or begin one. Raises ServeError."""
        cache, flights = model.cache, self.flights(model)
        assert cache is not None
        flight = flights.by_key.get(key)
        share = share and not flights.goes_alone(key)
        room = flights.waiting < model.options.job_queue_size
        if share and room and flight is not None and ticket.may_wait_for(flight):
            flights.waiting += 1
            cache.results["shared"] += 1
            ticket.board(flight)
            return
        made = Flight(self, model, cache, key, seen, keeps=True)
        if share and flight is None:
            flights.by_key[key] = made
        if share and cache.shared is not None and cache.shared.may_ask:
            made.by = ticket.by
            ticket.board(made)
            cache.shared.look_up(key, partial(self._looked_up, model, made, traffic))
            return
        cache.results["miss"] += 1
        self._alone(model, ticket, made, traffic)

    def _looked_up(
        self, model: Model, flight: Flight, traffic: Traffic | None, found: Reply | None, left: float
    ) -> None:
        """Give all tickets of a flight what another server has kept, or compute if there is nothing."""
        cache = model.cache
        if not flight.tickets or cache is None:
            return  # all have left meanwhile
        if found is not None:
            cache.results["hit"] += 1
            flight.found(found, left)
            return
        cache.results["miss"] += 1
        flight.epoch = b"" if cache.shared is None else cache.shared.epoch
        try:
            flight.begun(self._begin(model, flight.left(), flight, flight.tickets[0].named, traffic))
        except ServeError as error:
            flight.fail(error)

    def _alone(self, model: Model, ticket: CachedTicket, flight: Flight, traffic: Traffic | None) -> None:
        """Begin a flight for a ticket. Raises ServeError."""
        flight.by = ticket.by
        ticket.board(flight)
        try:
            flight.begun(self._begin(model, flight.payload, flight, ticket.named, traffic))
        except ServeError:
            flight.leave(ticket)
            raise

    def again(self, model: Model, ticket: CachedTicket, alone: bool) -> None:
        """Have a ticket whose flight could not answer it compute its own answer."""
        cache = model.cache
        if ticket.over or cache is None:
            return
        found = cache_key(ticket.left(), cache.options.headers)
        assert found is not None
        key, seen = found
        cache.results["shared"] -= 1
        try:
            self._compute(model, ticket, key, seen, None, share=not alone)
        except ServeError as error:
            ticket.fail(error)
