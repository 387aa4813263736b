"""HttpApplication: serves the rows of a listener over HTTP/2; requests of gRPC, by their type, are handed on."""

from __future__ import annotations

import asyncio
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from time import perf_counter

from ....core.errors import ServeError, SlowRequest
from ....core.payload import Body, Reply
from ...app_context import AppContext
from ...message.errors import UnsupportedMedia, error_reply
from ...message.ids import fresh_id
from ...message.live import LiveReply, Outlet
from ...message.request import Head, Request, by_lower_name, media_type
from ...predict.predict_request import PredictRequest, awaits_continue, check_declared
from ...predict.prediction import CLIENT_GONE, Prediction
from ...routing.route import Endpoint
from ...routing.router import Router
from ...routing.table import Match
from .errors import ErrorCode, StreamAborted
from .http2_writer import Http2Writer
from .stream import Application, Fields, RequestHead, Stream, StreamHandler
from .stream_body import StreamBody

_RPC = "application/grpc"
_CONTINUE = ((":status", "100"),)


class HttpApplication:
    """An Application. `rpc` serves the requests whose content type is gRPC's; without it they are answered 415.

    Without `router` nothing but gRPC is served. `arriving` are the requests whose bodies are on their way.
    """

    def __init__(self, context: AppContext, router: Router | None, rpc: Application | None) -> None:
        self.context = context
        self.arriving: set[_BodyHandler] = set()
        self._router = router
        self._rpc = rpc

    def __call__(self, stream: Stream) -> StreamHandler:
        """Return the handler of a request."""
        head = stream.head
        if head.headers.get("content-type", "").startswith(_RPC) and self._rpc is not None:
            return self._rpc(stream)
        read: PredictRequest | tuple[Head, list[Match]] = head.memo or self._read(head, stream.peer)
        if isinstance(read, PredictRequest):
            return PredictionHandler(self, stream, read)
        return RouteHandler(self, stream, read[0], read[1])

    def _read(self, head: RequestHead, peer: object) -> PredictRequest | tuple[Head, list[Match]]:
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in head.fields]
        if head.authority and "host" not in head.headers:
            raw.insert(0, (b"host", head.authority.encode("latin-1")))
        made = Head(head.method, head.path, raw, peer, "2.0")
        if self._router is None or head.headers.get("content-type", "").startswith(_RPC):
            return made, []
        asked = self._router.look_up(made)
        if not isinstance(asked, PredictRequest):
            return made, asked
        if asked.refusal is None:
            head.memo = asked
        return asked

    def find(self, head: Head, fields: dict[str, str], matches: list[Match]) -> tuple[Router, Endpoint, dict[str, str]]:
        """Return what answers a request that is no prediction. Raises ServeError."""
        if self._router is None or fields.get("content-type", "").startswith(_RPC):
            served = "gRPC" if self._router is None else "HTTP"
            raise UnsupportedMedia(f"Only {served} is served here, and this is a request of another kind.")
        endpoint, params = self._router.find(head, fields, matches)
        check_declared(fields, self.context.limits.max_request_size)
        return self._router, endpoint, params

    def error_reply(self, head: Head, error: BaseException) -> Reply:
        """Return the answer to a request that is no prediction and failed."""
        return error_reply(error) if self._router is None else self._router.error_reply(head, error)

    def look(self, now: float) -> None:
        """Refuse the bodies that come too slowly."""
        limits = self.context.limits
        idle = limits.drain_idle if self.context.draining else limits.body_idle
        for each in list(self.arriving):
            late = each.body.late(now, idle)
            if late:
                each.refuse(SlowRequest(late))


class _BodyHandler(ABC):
    """The handler of a stream whose request has a body. `over` says that the request is answered."""

    __slots__ = ("_application", "_stream", "body")

    _application: HttpApplication
    _stream: Stream
    body: StreamBody

    @property
    @abstractmethod
    def over(self) -> bool: ...

    @abstractmethod
    def refuse(self, error: ServeError) -> None:
        """Answer with `error`: the rest of the body is not needed."""

    def data_received(self, data: Body) -> None:
        """Take a piece of the body."""
        if self.over:
            return
        try:
            self.body.take(data)
        except ServeError as error:
            self.refuse(error)
        else:
            self._stream.consumed(len(data))

    def _arrived(self) -> None:
        """Note that no more of the body is wanted, or that it is whole."""
        self._application.arriving.discard(self)
        self.body.end()


class PredictionHandler(_BodyHandler):
    """A prediction: the handler of its stream."""

    __slots__ = ("_prediction", "_writer")

    def __init__(self, application: HttpApplication, stream: Stream, request: PredictRequest) -> None:
        self._application = application
        self._stream = stream
        self._writer = Http2Writer(application.context, stream, self._too_slow)
        prediction = self._prediction = Prediction(application.context, request, self._writer)
        self.body = StreamBody(application.context.limits, stream.head.length, prediction.expect, request.room)
        prediction.open(unread=not stream.remote_ended)
        if not prediction.over and not stream.remote_ended:
            application.arriving.add(self)
            if request.awaits_continue:
                stream.send_headers(_CONTINUE)

    @property
    def over(self) -> bool:
        return self._prediction.over

    def ended(self, trailers: Fields) -> None:
        """Submit the request: its body is whole."""
        self._application.arriving.discard(self)
        if not self._prediction.over:
            self._prediction.submit(self.body.whole())

    def aborted(self, error: StreamAborted) -> None:
        """Take the request out of its model's queue: the client has left, or wants no answer any more."""
        self._arrived()
        self._writer.end_hold()
        self._prediction.abandon()

    def writable(self) -> None:
        """Have the worker go on that waits for the client."""
        self._writer.writable()

    def refuse(self, error: ServeError) -> None:
        """Answer with `error`: the rest of the body is not needed."""
        self._arrived()
        self._prediction.fail(error, unread=True)

    def _too_slow(self) -> None:
        self._stream.reset(ErrorCode.CANCEL)
        self._prediction.abandon()


class RouteHandler(_BodyHandler):
    """A request to an endpoint: the handler of its stream."""

    __slots__ = ("_answered", "_found", "_head", "_leave", "_started", "_writer")

    def __init__(self, application: HttpApplication, stream: Stream, head: Head, matches: list[Match]) -> None:
        context = application.context
        self._application = application
        self._stream = stream
        self._head = head
        self._started = perf_counter()
        self._answered = False
        self._leave: Callable[[], None] | None = None  # of a live answer
        self._writer = Http2Writer(context, stream, self._too_slow)
        self.body = StreamBody(context.limits, stream.head.length, lambda: context.dataplane.expect("", None), _no_room)
        fields = by_lower_name(head.headers())
        try:
            self._found = application.find(head, fields, matches)
            _ = head.query()
        except Exception as error:  # noqa: BLE001  (the client is owed an answer, whatever broke)
            self._answer(self._failed(error))
            return
        if not stream.remote_ended:
            application.arriving.add(self)
            if awaits_continue(fields):
                stream.send_headers(_CONTINUE)

    @property
    def over(self) -> bool:
        return self._answered

    def ended(self, trailers: Fields) -> None:
        """Call the endpoint: the body is whole."""
        self._application.arriving.discard(self)
        if self._answered:
            return
        router, endpoint, params = self._found
        head = self._head
        content_type = media_type(self._stream.head.headers.get("content-type", ""))
        try:
            body = bytes(self.body.whole())
            request = Request(head.method, params, head.query(), content_type, body, head)
            result = endpoint(self._application.context, request)
            if isinstance(result, LiveReply):
                self._go_live(result)
            elif inspect.isawaitable(result):
                router.begin(result).add_done_callback(self._worked)
            else:
                self._answer(result)
        except Exception as error:  # noqa: BLE001  (the client is owed an answer, whatever broke)
            self._answer(self._failed(error))

    def _go_live(self, live: LiveReply) -> None:
        """Begin a live answer, which goes on until it has ended or the client has left."""
        stream, request_id = self._stream, fresh_id()
        outlet = Outlet(
            self._writer, self._head, behind=lambda: stream.queued > 0, drop=self._drop,
            draining=lambda: stream.draining, ended=lambda: self._close_books(live.first.status, request_id),
        )  # fmt: skip
        self._leave = live.leave
        outlet.begin(live.first, request_id)
        live.join(outlet)

    def _drop(self) -> None:
        """End a live answer whose client does not take it."""
        self._stream.reset(ErrorCode.CANCEL)
        self._close_books(CLIENT_GONE, "")

    def _worked(self, work: asyncio.Future[Reply]) -> None:
        if work.cancelled():
            self._answer(self._failed(asyncio.CancelledError()))
            return
        error = work.exception()
        self._answer(work.result() if error is None else self._failed(error))

    def aborted(self, error: StreamAborted) -> None:
        """Note that nobody reads the answer. Management that was begun goes on."""
        self._arrived()
        self._close_books(CLIENT_GONE, "")

    def writable(self) -> None:
        """Do nothing: whoever sends a live answer looks at what waits."""

    def refuse(self, error: ServeError) -> None:
        """Answer with `error`: the rest of the body is not needed."""
        self._arrived()
        self._answer(self._failed(error))

    def _failed(self, error: BaseException) -> Reply:
        return self._application.error_reply(self._head, error)

    def _answer(self, reply: Reply) -> None:
        if not self._answered:
            request_id = fresh_id()
            self._close_books(reply.status, request_id)
            self._writer.answer(self._head, reply, request_id, unread=False)

    def _close_books(self, status: int, request_id: str) -> None:
        if self._leave is not None:
            self._leave()
        if not self._answered:
            self._answered = True
            self._application.context.answered(self._head, status, perf_counter() - self._started, request_id)

    def _too_slow(self) -> None:
        self._stream.reset(ErrorCode.CANCEL)


def _no_room(_size: int) -> None:
    return None
