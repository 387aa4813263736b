"""A stream that writes down what is sent on it, and an application with planes that answer what a test tells them to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote

from torchserve.core.controlplane import ControlPlane
from torchserve.core.dataplane import DataPlane
from torchserve.core.metrics.store import MetricStore
from torchserve.http.accesslog import Entry
from torchserve.http.app_context import AppContext
from torchserve.http.message.limits import Limits
from torchserve.http.message.sequence_headers import SequenceHeaders
from torchserve.http.rpc.application import RpcApplication
from torchserve.http.rpc.framing import MessageReader, frame
from torchserve.http.rpc.protos.messages import message
from torchserve.http.rpc.status import HEADERS_BLOCK, OK_BLOCK, Code
from torchserve.http.transport.http2.errors import ErrorCode, StreamAborted
from torchserve.http.transport.http2.frames import AnswerFrames
from torchserve.http.transport.http2.stream import RequestHead, StreamHandler

from ..doubles import FakeControlPlane, FakeDataPlane
from ..fake_metrics import FakeMetrics

INFERENCE = "org.pytorch.serve.grpc.inference"
PREDICTIONS = f"/{INFERENCE}.InferenceAPIsService/Predictions"
STREAM = f"/{INFERENCE}.InferenceAPIsService/StreamPredictions"
SEQUENCES = f"/{INFERENCE}.InferenceAPIsService/StreamPredictions2"
Request = message(f"{INFERENCE}.PredictionsRequest")
Response = message(f"{INFERENCE}.PredictionResponse")


@dataclass
class FakeStream:
    """A stream on which nothing waits, unless a test says that it is `full`."""

    head: RequestHead
    id: int = 1
    peer: object = "127.0.0.1:1234"
    full: bool = False
    draining: bool = False
    ended: bool = False
    headers: list[tuple[str, str]] | None = None
    body: bytes = b""
    trailers: dict[str, str] | None = None
    code: ErrorCode | None = None
    taken: int = 0
    whole: Any = None

    def send_headers(self, headers: Any, *, end: bool = False) -> None:
        assert self.headers is None
        self.headers = _read(headers)
        self.ended = end

    def send(self, buffers: tuple[Any, ...], *, end: bool = False) -> None:
        assert self.headers is not None
        assert not self.ended
        self.body += b"".join(buffers)
        self.ended = end

    def send_trailers(self, trailers: Any) -> None:
        assert not self.ended
        self.trailers = dict(_read(trailers))
        self.ended = True

    def send_answer(self, frames: AnswerFrames, buffers: tuple[Any, ...], size: int) -> None:
        assert size == sum(map(len, buffers))
        self.send_headers(frames.head)
        self.send(buffers)
        self.send_trailers(frames.trailers)

    def reset(self, code: ErrorCode) -> None:
        self.code = code
        self.ended = True

    def consumed(self, size: int) -> None:
        self.taken += size


def _read(fields: Any) -> list[tuple[str, str]]:
    known = {HEADERS_BLOCK: [(":status", "200")], OK_BLOCK: [("grpc-status", "0")]}
    return known[fields] if isinstance(fields, bytes) else list(fields)


@dataclass
class Called:
    """A call as its client sees it."""

    stream: FakeStream
    handler: StreamHandler

    def say(self, *messages: Any, end: bool = True) -> Called:
        """Send messages, each in one frame."""
        for each in messages:
            data = each if isinstance(each, bytes) else each.SerializeToString()
            self.raw(frame(len(data)) + data)
        if end:
            self.end()
        return self

    def raw(self, data: bytes) -> Called:
        self.handler.data_received(data)
        return self

    def end(self) -> Called:
        self.handler.ended(())
        return self

    def leave(self) -> None:
        self.stream.ended = True
        self.handler.aborted(StreamAborted(8, "CANCEL"))

    @property
    def code(self) -> Code | None:
        return None if self.stream.trailers is None else Code(int(self.stream.trailers["grpc-status"]))

    @property
    def text(self) -> str:
        assert self.stream.trailers is not None
        return unquote(self.stream.trailers.get("grpc-message", ""))

    def messages(self, kind: Any = Response) -> list[Any]:
        return [kind.FromString(bytes(each)) for each in MessageReader(10**9).feed(self.stream.body)]


@dataclass
class Desk:
    """Makes calls of an application with fakes behind it."""

    data: FakeDataPlane = field(default_factory=FakeDataPlane)
    control: FakeControlPlane = field(default_factory=FakeControlPlane)
    metrics: FakeMetrics = field(default_factory=FakeMetrics)
    log: list[Entry] = field(default_factory=list[Entry])
    limits: Limits = field(default_factory=Limits)
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    apis: Sequence[Any] = ("inference", "management")
    reach: Any = "loopback"
    peer: object = "127.0.0.1:1234"
    rpc: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        self.context = AppContext(
            cast(DataPlane, self.data),
            cast(ControlPlane, self.control),
            cast(MetricStore, self.metrics),
            self.log.append,
            self.limits,
            **self.options,
        )
        self.application = RpcApplication(self.context, self.apis, self.reach, SequenceHeaders(), **self.rpc)

    def call(self, path: str = PREDICTIONS, method: str = "POST", **fields: str) -> Called:
        """Begin a call; `fields` are header fields, whose names have underscores in place of hyphens."""
        return self.again(self._head(path, method, fields))

    def whole(self, body: bytes, path: str = PREDICTIONS, method: str = "POST", **fields: str) -> Called:
        """Make a call whose body comes with its head."""
        return self.again(self._head(path, method, fields), body)

    @staticmethod
    def _head(path: str, method: str, fields: dict[str, str]) -> RequestHead:
        given = {"content-type": "application/grpc", "te": "trailers"}
        given |= {name.replace("_", "-"): value for name, value in fields.items()}
        pseudo = {":method": method, ":path": path, ":scheme": "http", ":authority": "127.0.0.1:7070"}
        return RequestHead(pseudo, tuple(given.items()), None)

    def again(self, head: RequestHead, whole: bytes | None = None) -> Called:
        """Begin a call with a head that has come before."""
        stream = FakeStream(head, peer=self.peer, whole=whole)
        call = Called(stream, self.application(stream))
        if stream.whole is not None:  # as a connection does it
            stream.whole = None
            call.raw(whole or b"").end()
        return call
