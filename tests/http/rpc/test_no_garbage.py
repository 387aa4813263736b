"""An answered request leaves nothing for the garbage collector: cycles would keep its body, and collecting them stops the loop."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import pytest

from torchserve.core.errors import BadRequest, QueueFull
from torchserve.core.payload import Reply
from torchserve.http.message.limits import Limits
from torchserve.http.rpc.framing import frame
from torchserve.http.rpc.protos.messages import message
from torchserve.http.transport.http2.connection import Connection
from torchserve.http.transport.http2.frames import PREFACE, RST_STREAM, SETTINGS
from torchserve.http.transport.http2.frames import frame as http2_frame
from torchserve.http.transport.http2.http_application import HttpApplication

from ..doubles import FakeDataPlane, Sink, running_front
from ..transport.http2.client import client
from ..transport.http2.harness import data, headers, number
from .doubles import INFERENCE, PREDICTIONS, SEQUENCES, STREAM, Desk, Request

OURS = "torchserve.http."
BODY = Request(model_name="m", input={"data": bytes(5000)}).SerializeToString()


@contextmanager
def no_garbage() -> Iterator[None]:
    """Fail if objects of http/ are left that only the garbage collector can free."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        kinds = {type(each).__qualname__ for each in gc.garbage if type(each).__module__.startswith(OURS)}
        assert not kinds
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


class Calls:
    """A connection of gRPC, whose requests wait for their answers in `sinks`."""

    def __init__(self, **options: Any) -> None:
        self.sinks: list[Sink] = []
        data = FakeDataPlane(behave=lambda _, sink: self.sinks.append(sink), statefully=True)
        self._desk = Desk(data, options=options)
        application = HttpApplication(self._desk.context, None, self._desk.application)
        self._connection = Connection(Limits(), application, lambda: None, lambda *_: None)
        self._say(PREFACE, http2_frame(SETTINGS, 0, 0))
        self._next = 1

    def _say(self, *pieces: bytes) -> None:
        for each in pieces:
            self._connection.receive(each, 0.0)
        self._connection.outbox.take()

    def call(self, path: str, said: bytes = BODY, *, whole: bool = True, end: bool = True) -> int:
        """Begin a call, whose message comes with its head if `whole`, and else in two pieces behind it. Unless `end`,
        its client may say more.
        """
        stream, self._next = self._next, self._next + 2
        fields = (":method", "POST"), (":path", path), (":scheme", "http"), (":authority", "here")
        head = headers(stream, *fields, ("content-type", "application/grpc"), end=False)
        body = frame(len(said)) + said
        if whole:
            self._say(head + data(stream, body, end=end))
        else:
            self._say(head, data(stream, body[:3000]), data(stream, body[3000:], end=end))
        return stream

    def reset(self, stream: int) -> None:
        self._say(http2_frame(RST_STREAM, 0, stream, number(8)))

    def forget(self) -> None:
        """Drop what the doubles keep."""
        self._connection.outbox.take()
        self._desk.data.payloads.clear()
        self._desk.data.ends.clear()
        self.sinks.clear()


def answered(calls: Calls, stream: int) -> None:
    calls.sinks.pop().done(Reply(b"answer"))


def streamed(calls: Calls, stream: int) -> None:
    sink = calls.sinks.pop()
    sink.chunk(Reply(b"one"))
    sink.done(Reply(b"two"))


def failed(calls: Calls, stream: int) -> None:
    calls.sinks.pop().fail(RuntimeError("broken"))


def cancelled(calls: Calls, stream: int) -> None:
    calls.reset(stream)


async def test_a_call_leaves_no_garbage() -> None:
    calls = Calls()

    def all_kinds() -> None:
        for end, path, whole in product((answered, streamed, failed, cancelled), (PREDICTIONS, STREAM), (True, False)):
            end(calls, calls.call(path, whole=whole))
            calls.forget()

    all_kinds()
    with no_garbage():  # of calls as some before them
        all_kinds()


class NoKey:
    """Refuses all keys."""

    def check(self, scope: object, fields: object) -> None:
        raise BadRequest("refused")


async def test_a_call_that_is_refused_leaves_no_garbage() -> None:
    without_key, plain = Calls(token_auth=NoKey()), Calls()

    def all_kinds() -> None:
        for whole in (True, False):
            without_key.call(PREDICTIONS, whole=whole)
            plain.call(PREDICTIONS, b"no message", whole=whole)

    all_kinds()
    with no_garbage():
        all_kinds()


# A message of each method that takes many, or that is no prediction, and whether a model answers it.
SEQUENCE = Request(model_name="m", input={"data": bytes(5000)}, sequence_id="s").SerializeToString()
INFER = message("inference.ModelInferRequest")(model_name="m", raw_input_contents=[bytes(5000)])
INFER.inputs.add(name="a", datatype="UINT8", shape=[5000])
LIST = message("grpc.reflection.v1.ServerReflectionRequest")(list_services="")
OTHERS = {
    SEQUENCES: (SEQUENCE, True),
    "/inference.GRPCInferenceService/ModelStreamInfer": (INFER.SerializeToString(), True),
    "/inference.GRPCInferenceService/ServerLive": (b"", False),
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": (LIST.SerializeToString(), False),
    "/grpc.health.v1.Health/Watch": (b"", False),
    "/grpc.health.v1.Health/Check": (b"", False),
    f"/{INFERENCE}.InferenceAPIsService/Ping": (b"", False),
    "/org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels": (b"", False),
    "/no.Such/Method": (b"", False),
}


def told_of(calls: Calls, stream: int) -> None:
    """Fail as a queue does, which a stream of many requests tells in a message."""
    calls.sinks.pop().fail(QueueFull("full"))


async def test_a_call_of_any_other_method_leaves_no_garbage() -> None:
    calls = Calls()

    def all_kinds() -> None:
        for (path, (said, predicts)), end, whole in product(OTHERS.items(), (True, False), (True, False)):
            for outcome in (answered, streamed, told_of, failed, cancelled) if predicts else (cancelled,):
                stream = calls.call(path, said, whole=whole, end=end)
                assert bool(calls.sinks) == predicts
                outcome(calls, stream)
                calls.reset(stream)  # of one that its client has not ended
                calls.forget()

    all_kinds()
    with no_garbage():
        all_kinds()


@pytest.mark.parametrize("options", [{}, {"token_auth": NoKey()}], ids=["answered", "refused"])
async def test_a_request_of_http_2_leaves_no_garbage(options: dict[str, Any]) -> None:
    async with running_front(data=FakeDataPlane(), **options) as front, client(front) as c:

        async def ask() -> None:
            for method, path in (("POST", "/predictions/m"), ("GET", "/ping")):
                await c.answer(c.ask(method, path, body=b"x" if method == "POST" else b""))
            front.data.payloads.clear()

        await ask()
        with no_garbage():
            await ask()
