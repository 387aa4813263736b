"""Served: a workflow that serves requests, and the count of those that are on their way; its nodes' models' names."""

from __future__ import annotations

import asyncio

from .spec import WorkflowSpec


class Served:
    """A workflow that serves requests, and the count of those that are on their way through it."""

    __slots__ = ("_idle", "running", "spec")

    def __init__(self, spec: WorkflowSpec) -> None:
        self.spec = spec
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
