"""A workflow before a dataplane that only keeps what is submitted, for a test to answer it node by node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from torchserve.core.dataplane import DataPlane
from torchserve.core.errors import ServerFull
from torchserve.core.payload import Part, Payload, Reply
from torchserve.core.workflows.runner import WorkflowPlane
from torchserve.core.workflows.served import Served
from torchserve.core.workflows.spec import read_spec

from ..doubles import Sink

DIAMOND = {"pre": ["m1", "m2"], "m1": ["post"], "m2": ["post"]}
FAN = {"pre": ["m1", "m2"]}
LINE = {"pre": ["m1"]}


class FakeTicket:
    def __init__(self, ends: list[str]) -> None:
        self.ends = ends

    def succeeded(self, _seconds: float) -> None:
        self.ends.append("succeeded")

    def failed(self, _error: BaseException) -> None:
        self.ends.append("failed")

    def cancel(self) -> None:
        self.ends.append("cancelled")


class FakeDataPlane:
    """Keeps what is submitted; a test answers it by the node's sink. `refuses` raises for a node."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Payload]] = []
        self.sinks: dict[str, Any] = {}
        self.ends: dict[str, list[str]] = {}
        self.refuses: dict[str, Exception] = {}
        self.at_once: dict[str, Reply] = {}
        self.admitted: list[str] = []
        self.running = 0  # admitted requests that have not ended
        self.kept = 0
        self.most = 10**6

    def admit(self, name: str, _payload: Payload) -> str:
        self.admitted.append(name)
        self.running += 1
        return name

    def ended(self, admitted: object) -> None:
        assert admitted in self.admitted
        self.running -= 1

    def keep(self, size: int) -> None:
        if self.kept + size > self.most:
            raise ServerFull("The server is full.", retry_after=1.0)
        self.kept += size

    def submit_admitted(self, name: str, version: str | None, payload: Payload, sink: Any) -> FakeTicket:
        node = name.removeprefix("wf__")
        assert version is None
        if node in self.refuses:
            raise self.refuses[node]
        self.calls.append((node, payload))
        self.sinks[node] = sink
        if node in self.at_once:
            sink.done(self.at_once[node])
        return FakeTicket(self.ends.setdefault(node, []))

    @property
    def nodes(self) -> list[str]:
        return [node for node, _ in self.calls]


class Case:
    """A workflow before a fake plane, and one request to it."""

    def __init__(
        self,
        dag: Mapping[str, list[str]],
        most: int = 1000,
        timeout: float | None = None,
        models: Mapping[str, Any] | None = None,
        **common: Any,
    ) -> None:
        keys = {key.replace("_", "-"): value for key, value in common.items()} | dict(models or {})
        self.data = FakeDataPlane()
        self.served = Served("wf", read_spec({"models": keys, "dag": dag}, functions=True))
        self.plane = WorkflowPlane(cast(DataPlane, self.data), {"wf": self.served}, most)
        self.sink = Sink()
        self.payload = Payload("id", (Part("data", "", b"in"),), {"h": "1"}, timeout, priority=3)

    def submit(self) -> Any:
        return self.plane.submit("wf", None, self.payload, self.sink)

    def done(self, node: str, body: bytes, **reply: Any) -> None:
        self.data.sinks[node].done(Reply(body, **reply))

    def settled(self) -> None:
        """Every attempt was ended exactly once, and nothing is on its way."""
        assert sum(len(each) for each in self.data.ends.values()) == len(self.data.calls)
        assert self.served.running == self.data.running == self.data.kept == 0
        assert self.data.admitted == ["wf__pre"]
