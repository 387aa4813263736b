"""Served: a workflow that serves requests, with what each of its nodes takes, and the counts of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from ..metrics.catalog import DURATIONS
from ..metrics.series import Histogram
from .spec import WorkflowSpec


@dataclass(frozen=True, slots=True)
class Node:
    """A node as requests come to it: its model, the seconds that an attempt has, and how many more attempts follow.

    `ends` is whether no node follows it; a node is `alone` if no other node's result belongs to the answer, either.
    """

    name: str
    model: str
    timeout: float
    retries: int
    ends: bool
    alone: bool


class Served:
    """A workflow that serves requests, and the counts of those that are on their way through it and have been.

    `failed` and `repeated` count by node: requests that ended there, and attempts that followed a failed one.
    """

    __slots__ = ("_idle", "failed", "latency", "left", "name", "nodes", "repeated", "requests", "running", "spec",
                 "succeeded")  # fmt: skip

    def __init__(self, name: str, spec: WorkflowSpec) -> None:
        self.name = name
        self.spec = spec
        graph = spec.graph
        self.nodes = {
            node: Node(
                node,
                model_of(name, node),
                spec.nodes[node].timeout / 1000.0,
                spec.nodes[node].retries,
                not graph.after[node],
                graph.leaves == (node,),
            )
            for node in graph.nodes
        }
        self.running = self.requests = self.succeeded = self.left = 0
        self.failed = dict.fromkeys(graph.nodes, 0)
        self.repeated = dict.fromkeys(graph.nodes, 0)
        self.latency = Histogram(DURATIONS)
        self._idle: asyncio.Future[None] | None = None

    def row(self) -> dict[str, Any]:
        """Return the graph, and the totals since the workflow was registered."""
        graph = self.spec.graph
        nodes = [
            {
                "name": node.name, "model": node.model, "after": list(graph.after[node.name]),
                "failed": self.failed[node.name], "repeated": self.repeated[node.name],
            }
            for node in self.nodes.values()
        ]  # fmt: skip
        return {
            "name": self.name, "running": self.running, "requests": self.requests, "succeeded": self.succeeded,
            "left": self.left, "latency": list(self.latency.counts), "nodes": nodes,
        }  # fmt: skip

    def ended(self) -> None:
        """Note that a request has ended."""
        self.running -= 1
        if not self.running and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    async def drain(self, grace: float) -> None:
        """Wait until no request is on its way, for at most `grace` seconds."""
        if self.running:
            self._idle = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._idle], timeout=grace)


def model_of(workflow: str, node: str) -> str:
    """Return the name of the model that is a node."""
    return f"{workflow}__{node}"
