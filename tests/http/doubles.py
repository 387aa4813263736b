"""Planes that answer what a test tells them to, and a client that says exactly the bytes it is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, cast

from torchserve.core.config.address import Address
from torchserve.core.controlplane import ControlPlane, Outcome
from torchserve.core.dataplane import DataPlane
from torchserve.core.errors import ModelNotFound, ServerFull, VersionNotFound
from torchserve.core.logs.tail import LogTail
from torchserve.core.metrics.store import MetricStore
from torchserve.core.overview import Overview
from torchserve.core.payload import Payload, Reply, Scheduled
from torchserve.core.registration import RegisterRequest
from torchserve.core.workflows.registry import Workflows
from torchserve.http.accesslog import Entry
from torchserve.http.front import Front
from torchserve.http.front_config import FrontConfig
from torchserve.http.message.limits import Limits
from torchserve.http.rpc.status import Code, counted_as
from torchserve.http.site_policy import Hosts

from .fake_metrics import FakeMetrics

# Seconds that a test waits at most for what happens at once on a quiet machine. The limits of a front that end a
# connection by themselves are longer by default: what they do is not taken for it.
SOON = 25.0


class Sink(Protocol):
    def chunk(self, item: object) -> None: ...
    def done(self, item: object) -> None: ...
    def fail(self, error: Exception) -> None: ...


class FakeTicket:
    def __init__(self, plane: FakeDataPlane) -> None:
        self._plane = plane

    def succeeded(self, seconds: float) -> None:
        self._plane.ends.append(seconds)

    def exemplar(self, seconds: float, trace_id: str) -> None:
        self._plane.exemplars.append(trace_id)

    def scheduled(self) -> Scheduled | None:
        return self._plane.scheduled

    def hold(self) -> float:
        self._plane.held_up += 1
        return self._plane.left() if self._plane.left is not None else self._plane.patience

    def release(self) -> None:
        self._plane.held_up = 0

    def failed(self, error: BaseException) -> None:
        self._plane.ends.append(error)

    def cancel(self) -> None:
        self._plane.cancelled += 1
        self._plane.changed.set()


class Expecting:
    def __init__(self, plane: FakeDataPlane, model: str) -> None:
        self._plane = plane
        self._model = model
        self._own = 0

    def __enter__(self) -> Expecting:
        self._plane.arriving += 1
        self._plane.arrivals += bool(self._model)
        self._plane.changed.set()
        return self

    def grow(self, size: int) -> None:
        if self._plane.held + size > self._plane.most:
            raise ServerFull(f"more than {self._plane.most} (max_pending_bytes)")
        self._plane.held += size
        self._own += size

    def __exit__(self, *exc: object) -> None:
        self._plane.arriving -= 1
        self._plane.held -= self._own
        self._plane.changed.set()


def echo(payload: Payload, sink: Sink) -> None:
    """Answer on the next turn of the loop with the first part's bytes."""
    asyncio.get_running_loop().call_soon(sink.done, Reply(payload.parts[0].body if payload.parts else b""))


@dataclass
class FakeDataPlane:
    """Knows the model `m` in version 1.0. `behave` gets every request; by default it echoes."""

    behave: Callable[[Payload, Sink], None] = echo
    payloads: list[Payload] = field(default_factory=list[Payload])
    targets: list[tuple[str, str | None]] = field(default_factory=list[tuple[str, str | None]])
    ends: list[float | BaseException] = field(default_factory=list["float | BaseException"])
    cancelled: int = 0
    arriving: int = 0
    arrivals: int = 0
    held: int = 0  # bytes of bodies that are arriving
    most: int = 10**12
    exemplars: list[str] = field(default_factory=list[str])  # the ids of traces
    held_up: int = 0  # how often a worker was told to wait, since it last went on
    patience: float = 10**6  # seconds for which it may
    left: Callable[[], float] | None = None  # the same, where it changes
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    startup: tuple[str, ...] = ("m",)
    aliased: dict[str, str] = field(default_factory=dict[str, str])
    scheduled: Scheduled | None = None
    statefully: bool = False
    rooms: list[memoryview] = field(default_factory=list[memoryview])  # for bodies that are still arriving

    def aliases(self) -> dict[str, str]:
        return self.aliased

    def startup_model(self) -> str | None:
        return self.startup[0] if len(self.startup) == 1 else None

    def _check(self, model: str, version: str | None) -> None:
        if model != "m":
            raise ModelNotFound(model)
        if version not in {None, "1.0"}:
            raise VersionNotFound(model, version)

    def stateful(self, model: str, version: str | None) -> bool:
        self._check(model, version)
        return self.statefully

    def expect(self, model: str, version: str | None) -> Expecting:
        if model:
            self._check(model, version)
        return Expecting(self, model)

    def room(self, model: str, version: str | None, size: int) -> memoryview | None:
        self._check(model, version)
        return self.rooms.pop() if self.rooms else None

    def submit(self, model: str, version: str | None, payload: Payload, sink: Sink) -> FakeTicket:
        self._check(model, version)
        self.targets.append((model, version))
        self.payloads.append(payload)
        self.changed.set()
        self.behave(payload, sink)
        return FakeTicket(self)


@dataclass
class FakeControlPlane:
    """Writes down what it is called with. `result` is returned, or raised, or awaited."""

    result: Any = field(default_factory=lambda: Outcome("fine"))
    calls: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    inputs: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    well: bool = True

    async def _answer(self, *call: Any) -> Any:
        self.calls.append(call)
        result = self.result
        if isinstance(result, Awaitable):
            result = await result
        if isinstance(result, BaseException):
            raise result
        return result

    def _answer_now(self, *call: Any) -> Any:
        self.calls.append(call)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result

    async def register(self, request: RegisterRequest) -> Outcome:
        return await self._answer("register", request)

    async def scale(
        self, name: str, version: str | None, *, minimum: int = 1, maximum: int | None = None, synchronous: bool = False
    ) -> Outcome:
        return await self._answer("scale", name, version, minimum, maximum, synchronous)

    async def unregister(self, name: str, version: str | None) -> Outcome:
        return await self._answer("unregister", name, version)

    async def set_default(self, name: str, version: str) -> Outcome:
        return self._answer_now("set_default", name, version)

    def purge(self, name: str, version: str | None) -> Outcome:
        return self._answer_now("purge", name, version)

    async def set_traffic(self, name: str, given: Any) -> Outcome:
        return await self._answer("set_traffic", name, given)

    async def describe(self, name: str, version: str | None, *, customized: bool = False) -> Any:
        return await self._answer("describe", name, version, customized)

    def list_models(self, limit: int, offset: int) -> Any:
        return self._answer_now("list_models", limit, offset)

    def healthy(self) -> bool:
        return self.well

    def missing(self) -> list[str]:
        return [] if self.well else ["m has 0 of 1 workers."]

    def version_of(self, name: str, version: str | None = None) -> str:
        if name != "m":
            raise ModelNotFound(name)
        if version not in {None, "1.0"}:
            raise VersionNotFound(name, version)
        return "1.0"

    def model_names(self) -> list[str]:
        return ["m"]

    def registered_at(self, name: str) -> float:
        _ = self.version_of(name)
        return 1.7e9

    def ready(self, name: str, version: str | None = None) -> bool:
        self.version_of(name, version)
        return self.well

    @property
    def repository(self) -> FakeControlPlane:
        return self

    def metadata(self, name: str, version: str | None = None) -> Any:
        self.version_of(name, version)
        if isinstance(self.result, Outcome):
            return {"inputs": self.inputs}
        return self._answer_now("metadata", name, version)

    def configuration(self, name: str, version: str | None = None) -> Any:
        self.version_of(name, version)
        return self._answer_now("configuration", name, version)

    def statistics(self, name: str = "", version: str | None = None) -> Any:
        return self._answer_now("statistics", name, version)

    def index(self, *, ready: bool = False) -> Any:
        return self._answer_now("index", ready)

    async def load(self, name: str) -> None:
        await self._answer("load", name)

    async def unload(self, name: str) -> None:
        await self._answer("unload", name)


@dataclass
class FakeOverview:
    """A state that is a number: how often it was looked at. `fat` makes each message so many bytes longer."""

    looks: int = 0
    forgotten: int = 0
    fat: int = 0
    spent: float = 0.0
    log: LogTail | None = None
    settings: Callable[[], list[dict[str, str]]] = list

    async def changes(self) -> dict[str, Any]:
        self.looks += 1
        return {"look": self.looks, "fat": "x" * self.fat}

    def whole(self) -> dict[str, Any]:
        return {"whole": True, "look": self.looks, "fat": "x" * self.fat}

    def forget(self) -> None:
        self.forgotten += 1

    async def look_at_gpus(self) -> None:
        pass

    def detail(self, name: str, version: str | None) -> dict[str, Any]:
        if name != "m":
            raise ModelNotFound(name)
        return {"described": {"modelName": name, "modelVersion": version}}


@dataclass
class RunningFront:
    """A running front with fakes behind it."""

    front: Front
    data: FakeDataPlane
    control: FakeControlPlane
    metrics: FakeMetrics
    log: list[Entry]

    def port(self, api: Any = "inference") -> int:
        return self.front.bound[api].port

    def url(self, path: str, api: Any = "inference") -> str:
        return f"http://127.0.0.1:{self.port(api)}{path}"

    async def say(self, raw: bytes, api: Any = "inference", *, timeout: float = SOON) -> bytes:
        """Send bytes on a new connection and read until the server closes it."""
        async with connect(self.port(api)) as (reader, writer):
            writer.write(raw)
            return await asyncio.wait_for(reader.read(), timeout)


@asynccontextmanager
async def connect(port: int, limit: int = 2**16) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A client; its reader stops reading by itself once it holds twice `limit` bytes that nobody has asked for."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=limit)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


@asynccontextmanager
async def running_front(
    limits: Limits | None = None,
    data: FakeDataPlane | None = None,
    control: FakeControlPlane | None = None,
    overview: FakeOverview | None = None,
    workflows: Workflows | None = None,
    **options: Any,
) -> AsyncIterator[RunningFront]:
    """Start a front on three free ports; afterwards every request must have been logged and counted once."""
    data = data or FakeDataPlane()
    control = control or FakeControlPlane()
    metrics = FakeMetrics()
    log: list[Entry] = []
    options.setdefault("listen", {api: Address("127.0.0.1", 0) for api in ("inference", "management", "metrics")})
    options.setdefault("hosts", Hosts(frozenset({"x"})))  # what tests write into Host
    front = Front(
        FrontConfig(limits=limits or Limits(), **options),
        dataplane=cast(DataPlane, data),
        controlplane=cast(ControlPlane, control),
        metrics=cast(MetricStore, metrics),
        access=log.append,
        overview=cast("Overview | None", overview),
    )
    if workflows is not None:
        front.serve_workflows(workflows)
    await front.start()
    try:
        yield RunningFront(front, data, control, metrics, log)
    finally:
        await front.stop()
    assert data.arriving == 0
    assert [counted_as(Code(each.status)) if each.method == "gRPC" else each.status for each in log] == metrics.statuses


async def until(true: Callable[[], object], timeout: float = SOON) -> None:
    """Poll until `true()` holds."""
    async with asyncio.timeout(timeout):
        while not true():
            await asyncio.sleep(0.005)


def head_and_body(answer: bytes) -> tuple[list[str], bytes]:
    """The head's lines and the body of one raw answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode("latin-1").split("\r\n"), body


def post(path: str, body: bytes = b"", *headers: str, declared: int | None = None, method: str = "POST") -> bytes:
    """A request as bytes; `declared` is its content-length where the body does not say it."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: x",
        f"Content-Length: {len(body) if declared is None else declared}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def answer(reader: asyncio.StreamReader) -> tuple[list[str], bytes]:
    """One answer that has a content-length, from a connection that stays open."""
    async with asyncio.timeout(SOON):
        lines, _ = head_and_body(await reader.readuntil(b"\r\n\r\n"))
        length = next(int(line.split(": ")[1]) for line in lines if line.startswith("content-length"))
        return lines, await reader.readexactly(length)
