"""What happens to a prediction, whichever protocol read it: head -> Payload -> dataplane -> answer bytes -> books.

Nothing here awaits; a Prediction is the dataplane's sink and writes to an Outlet, which a protocol provides.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from ..core.errors import BadRequest, HandlerFailed, RouteNotFound, ServeError, TooLarge
from ..core.payload import Body, Part, Payload, Reply
from .auth import Scope
from .body import last_of_each, split_body
from .errors import error_reply
from .ids import fresh_id
from .inference import only_model
from .reply import BODILESS, Letterhead, reply_head, stream_head, with_scheduling
from .request import Head, by_lower_name, check_percent, decode_segment
from .route import Ask
from .routes import match_prediction
from .services import Services

if TYPE_CHECKING:
    from ..core.dataplane import Ticket

log = logging.getLogger(__name__)

CLIENT_GONE = 499  # in the books only: nobody is left to get an answer
SCOPE: Scope = "inference"
_NO_ASK = Ask()
_LONGEST = 2**31 - 1  # ms
_PRIORITIES = {str(level): level for level in range(-9, 10)}
_TRANSFER = frozenset(("transfer-encoding", "expect"))


class Outlet(Protocol):
    """Where answer bytes go. `last` comes exactly once; then `keep` says whether the connection may be used again.

    A streamed answer that breaks off ends with no bytes and without `keep`: its client sees the end missing.
    """

    def send(self, buffers: tuple[Body, ...], *, last: bool, keep: bool) -> None: ...


class Prediction:
    """One prediction. A protocol calls `open`, then `submit` with the whole body, or `fail`; or `abandon` at any time.

    `over` is True once the answer was sent or the client has gone; further calls then do nothing.
    """

    __slots__ = (
        "_ask", "_fields", "_headers", "_model", "_outlet", "_query", "_services", "_streaming", "_ticket", "_url_path",
        "_version", "head", "id", "over",
    )  # fmt: skip

    def __init__(self, services: Services, head: Head, outlet: Outlet) -> None:
        self._services = services
        self._outlet = outlet
        self._ticket: Ticket | None = None
        self._streaming: int | None = None  # the status that a streamed answer began with
        self._ask = _NO_ASK
        self._model = ""  # until the parameters of the request name it
        self._version: str | None = None
        self._url_path = ""
        self._query: dict[str, str] = {}
        self._headers: dict[str, str] = {}
        self._fields = self._headers
        self.head = head
        self.id = fresh_id()
        self.over = False

    def open(self, *, unread: bool = False) -> None:
        """Read the head; answers at once if that is wrong. `unread`: the body, or some of it, is not here yet."""
        try:
            self._headers = self.head.headers()
            self._fields = by_lower_name(self._headers)
            guard = self._services.guard
            if guard is not None:
                guard.check(SCOPE, self._fields)
            path = self.head.path()
            check_percent(path)
            matched = match_prediction(path)
            if matched is None:
                raise RouteNotFound
            self._ask, params = matched
            if self._ask.query:
                self._query = {name: values[-1] for name, values in self.head.query().items()}
            self._model = decode_segment(params.get("model", "")) or self._query.get("model_name", "")
            if "version" in params:
                self._version = decode_segment(params["version"])
            if "rest" in params:
                self._url_path = decode_segment(params["rest"])
            check_declared(self._fields, self._services.limits.max_request_size)
        except ServeError as error:
            self.fail(error, unread=unread)

    @property
    def awaits_continue(self) -> bool:
        return awaits_continue(self._fields)

    def expect(self) -> AbstractContextManager[None]:
        """Around the reading of a body that is still arriving. Raises ModelNotFound or VersionNotFound."""
        if not self._model:
            return nullcontext()
        return self._services.dataplane.expect(self._model, self._version)

    def submit(self, body: bytes) -> None:
        """Hand the request to its model."""
        try:
            check_size(len(body), self._services.limits.max_request_size)
            payload = self._payload(body)
            self._ticket = self._services.dataplane.submit(self._model, self._version, payload, self)
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
                self._explained(item), self.id, keep=self._keep(streamed=True), chunked=self.head.http11,
                letterhead=self._services.letterhead,
            )  # fmt: skip
            body = self._framed(item.body) if len(item.body) else ()
            self._outlet.send((head, *body), last=False, keep=True)
        else:
            self.fail(_unsendable(item))

    def done(self, item: object) -> None:
        """The whole answer, a Reply, or the last piece of a streamed one."""
        if self.over or not isinstance(item, Reply):
            return
        ticket = self._ticket
        if self._streaming is not None:
            self._end_stream(item)
        elif _sendable(item):
            self._answer(item, keep=self._keep())
        else:
            self.fail(_unsendable(item))
            return
        if ticket is not None:
            ticket.answered(perf_counter() - self.head.started)

    def fail(self, error: BaseException, *, unread: bool = False) -> None:
        """An error is the answer. `unread`: its body may still be on the way, so the connection ends behind it."""
        if self.over:
            return
        if self._ticket is not None:
            self._ticket.failed(error)
        if self._streaming is None:
            self._answer(error_reply(error), keep=self._keep() and not unread)
            return
        log.warning("a streamed answer of model %s broke off: %s", self._model, error)
        self._close_books(500)
        self._outlet.send((), last=True, keep=False)

    # ---- within

    def _payload(self, body: bytes) -> Payload:
        fields = self._fields
        check_json = self._services.decode_input and "content-encoding" not in fields
        parts = split_body(body, fields.get("content-type", ""), self._services.limits, check_json=check_json)
        if self._ask.query:
            given = [Part(name, "", value.encode("utf-8", "surrogateescape")) for name, value in self._query.items()]
            parts = last_of_each([*given, *parts])
        if not self._model:
            self._model = _named(parts) or only_model(self._services)
        headers = self._headers
        if "transfer-encoding" in fields or "expect" in fields:  # of interest to who read the body, and done with
            headers = {name: value for name, value in headers.items() if name.lower() not in _TRANSFER}
        if "content-length" not in fields:
            headers["content-length"] = str(len(body))
        if self._ask.explain:
            headers["explain"] = self._ask.explain
        if self._ask.url_path:
            headers["url_path"] = self._url_path
        timeout, priority = wishes(fields)
        return Payload(self.id, parts, headers, timeout, priority)

    def _keep(self, *, streamed: bool = False) -> bool:
        """Whether the connection outlives this answer. HTTP/1.0 knows no chunks: there it ends a streamed answer."""
        return self.head.keep_alive and not self._services.draining and (self.head.http11 or not streamed)

    def _framed(self, body: Body) -> tuple[Body, ...]:
        return (b"%x\r\n" % len(body), body, b"\r\n") if self.head.http11 else (body,)

    def _explained(self, reply: Reply) -> Reply:
        """With headers that say how it was scheduled, if the settings ask for them and it ran at all."""
        if not self._services.scheduling_headers or self._ticket is None:
            return reply
        scheduled = self._ticket.scheduled()
        return reply if scheduled is None else with_scheduling(reply, scheduled)

    def _answer(self, reply: Reply, *, keep: bool) -> None:
        reply = self._explained(reply)
        self._close_books(reply.status)
        buffers = answer_buffers(reply, self.id, self.head, self._services.letterhead, keep=keep)
        self._outlet.send(buffers, last=True, keep=keep)

    def _end_stream(self, reply: Reply) -> None:
        self._close_books(self._streaming or 200)
        body = self._framed(reply.body) if len(reply.body) else ()
        tail = (*body, b"0\r\n\r\n") if self.head.http11 else body
        self._outlet.send(tail, last=True, keep=self._keep(streamed=True))

    def _close_books(self, status: int) -> None:
        self.over = True
        self._ticket = None  # it knows its sink, which is this: a cycle that only the garbage collector would find
        self._services.answered(self.head, status, self.id)


def answer_buffers(
    reply: Reply, request_id: str, head: Head, letterhead: Letterhead, *, keep: bool
) -> tuple[Body, ...]:
    """Head and body of a whole answer. HEAD gets no body: sent, it would be taken for the next answer (a departure)."""
    start = reply_head(reply, request_id, keep=keep, letterhead=letterhead)
    if head.method == "HEAD" or reply.status in BODILESS:
        return (start,)
    return (start, reply.body)


def check_declared(fields: Mapping[str, str], limit: int) -> None:
    """Raise TooLarge for a body that says it is over `limit` bytes, before any of it is read."""
    declared = fields.get("content-length")
    if declared is not None and declared.isdigit():
        check_size(int(declared), limit)


def check_size(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge(f"The request body has {size} bytes and at most {limit} are accepted (max_request_size).")


def awaits_continue(fields: Mapping[str, str]) -> bool:
    """Whether the client holds its body back until it is told to go on."""
    return fields.get("expect", "").lower() == "100-continue"


def wishes(fields: Mapping[str, str]) -> tuple[float | None, int]:
    """The seconds in which the client needs its answer, if it says, and the request's priority. Raises BadRequest."""
    timeout, priority = fields.get("x-request-timeout-ms"), fields.get("x-request-priority")
    if timeout is None and priority is None:
        return None, 0
    seconds = None
    if timeout is not None:
        if not (timeout.isascii() and timeout.isdigit() and 0 < int(timeout[:10]) <= _LONGEST and len(timeout) <= 10):
            raise BadRequest(f"x-request-timeout-ms must be a whole number from 1 to {_LONGEST}.")
        seconds = int(timeout) / 1000.0
    if priority is not None and priority not in _PRIORITIES:
        raise BadRequest("x-request-priority must be a whole number from -9 (first) to 9 (last); 0 is the default.")
    return seconds, _PRIORITIES[priority] if priority is not None else 0


def _named(parts: tuple[Part, ...]) -> str:
    """The model that a form's field names; "" if none does."""
    return next((str(part.body, "utf-8", "replace") for part in parts if part.name == "model_name"), "")


def _sendable(reply: Reply) -> bool:
    return 200 <= reply.status <= 599


def _unsendable(reply: Reply) -> HandlerFailed:
    return HandlerFailed(f"The handler set the HTTP status {reply.status}; it must be 200 to 599.", 500)
