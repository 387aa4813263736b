"""Served: a workflow that serves requests, with what each of its nodes takes, and the count of those on their way."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

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
    """A workflow that serves requests, and the count of those that are on their way through it."""

    __slots__ = ("_idle", "name", "nodes", "running", "spec")

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
        self.running = 0
        self._idle: asyncio.Future[None] | None = None

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
