"""ModelCalls: the calls of a worker's handler to other models, until the front has answered them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from ..handlers.model_call import ModelAnswer, ModelCallFailed, ModelOrder
from ..payload import Body
from ..wire.frames import encode
from ..wire.messages import Call, CallCancel, Called, Load, PartHead, ToBackend
from .inputs import own
from .outputs import encode_value, tensor_bytes

Send = Callable[[list[Body]], None]
Wait = Callable[["Future[ModelAnswer]"], None]

_UNCONNECTED = "no server is connected to this process (of a model's ranks, only rank 0 has a connection)"


class Pending:
    """A call that has begun. `wait` reads from the front until a future is done; None if a thread does that anyway."""

    def __init__(self, future: Future[ModelAnswer], wait: Wait | None) -> None:
        self._future = future
        self._wait = wait

    async def answer(self) -> ModelAnswer:
        """Wait for the answer, and end the call if this is cancelled. Raises ModelCallFailed."""
        if self._wait is None:
            return await asyncio.wrap_future(self._future)
        try:  # a loop that a plain handler runs by itself: the thread that waits may have to read from the front
            return await asyncio.to_thread(self.answer_blocking)
        except asyncio.CancelledError:
            self._future.cancel()
            raise

    def answer_blocking(self) -> ModelAnswer:
        """Wait for the answer. Raises ModelCallFailed."""
        if self._wait is not None:
            self._wait(self._future)
        elif _on_a_loop():
            self._future.cancel()
            raise RuntimeError(
                "predict_blocking was called by the thread of the event loop, which would serve nobody meanwhile; use"
                " `await context.predict(…)` there"
            )
        return self._future.result()


class ModelCalls:
    """The open calls of this process. `send` writes a frame to the front, one thread at a time. Threads may share it.

    Nothing can be called before `connect` and after `end`.
    """

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._open: dict[int, Future[ModelAnswer]] = {}
        self._wait: Wait | None = None
        self._refusal = _UNCONNECTED

    def connect(self, wait: Wait | None = None) -> None:
        """Permit calls. `wait` must return when its future is done; None if a thread reads from the front anyway."""
        self._wait = wait
        self._refusal = ""

    def begin(self, order: ModelOrder, batch: int | None, places: Sequence[int] | None, load: Load) -> Pending:
        """Send a call. `places` are the positions in the batch of the requests that the handler sees; None if only the
        batch is known.

        Raises ModelCallFailed if it is too large, RuntimeError if no request runs, ConnectionError.
        """
        if batch is None:
            raise RuntimeError(f"model {order.model} can't be called now: a call belongs to a request, and none runs")
        kind, body = _encoded(order)
        if len(body) > load.max_response_size:
            raise ModelCallFailed(
                f"Model {load.model_name} called model {order.model} with {len(body)} bytes, and at most"
                f" {load.max_response_size} leave a worker (max_response_size).", 413,
            )  # fmt: skip
        row = -1 if order.idx is None or places is None else places[order.idx]
        number = next(self._numbers)
        parts = (PartHead("body", kind),)
        message = Call(number, batch, row, order.model, parts, str(order.version or ""), order.timeout or 0.0)
        future: Future[ModelAnswer] = Future()
        with self._lock:
            if self._refusal:
                raise ConnectionError(f"model {order.model} can't be called: {self._refusal}")
            self._open[number] = future
        future.add_done_callback(lambda future: self._cancel(number) if future.cancelled() else None)
        try:
            self._send(encode(message, [body]))
        except BaseException:
            self._open.pop(number, None)
            raise
        return Pending(future, self._wait)

    def took(self, called: ToBackend, bodies: Sequence[Body]) -> bool:
        """Give the outcome of a call to the thread or the task that waits for it. Return False for other messages."""
        if not isinstance(called, Called):
            return False
        future = self._open.pop(called.call, None)
        if future is None or not future.set_running_or_notify_cancel():
            return True
        if called.error:
            future.set_exception(ModelCallFailed(called.error, called.status))
        else:
            headers = dict(called.headers)
            future.set_result(ModelAnswer(own(bodies[0]), called.status, called.content_type, headers))
        return True

    def end(self) -> None:
        """Fail all calls: the front is gone."""
        with self._lock:
            self._refusal = "the server has closed the connection"
            left, self._open = list(self._open.values()), {}
        for future in left:
            if future.set_running_or_notify_cancel():
                future.set_exception(ConnectionError(self._refusal))

    def _cancel(self, number: int) -> None:
        with contextlib.suppress(OSError):  # a front that is gone knows of no call
            self._send(encode(CallCancel(number)))


def _encoded(order: ModelOrder) -> tuple[str, Body]:
    """Return the content type and the body of what a model is called with."""
    data = order.data
    if isinstance(data, str):
        return "text/plain", data.encode("utf-8")
    if isinstance(data, bytes | bytearray | memoryview):
        return "", bytes(data)
    tensor = tensor_bytes(data)
    return ("", tensor) if tensor is not None else ("application/json", encode_value(data))


def _on_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
