"""WorkflowPlane: takes predictions through the graphs of workflows, by way of the DataPlane."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..dataplane import Arrival, DataPlane
from ..errors import ServeError, WorkflowNotFound
from ..payload import Payload
from .node_error import of_node
from .served import Served, model_of
from .ticket import WorkflowTicket

if TYPE_CHECKING:
    from ...scheduler.job import Sink


class WorkflowPlane:
    """The interface through which front doors ask workflows. It is that of the DataPlane.

    `workflows` is looked into for each request. The pieces that a node streams, and the results of several leaves, have
    at most `max_result` bytes.
    """

    def __init__(self, dataplane: DataPlane, workflows: Mapping[str, Served], max_result: int) -> None:
        self._dataplane = dataplane
        self._workflows = workflows
        self._max_result = max_result

    def expect(self, name: str, version: str | None) -> Arrival:
        """Return a context in which to receive a body. Raises WorkflowNotFound, NodeFailed."""
        del version
        start = self._served(name).spec.graph.start
        try:
            return self._dataplane.expect(model_of(name, start), None)
        except ServeError as error:
            raise of_node(error, name, start) from None

    def room(self, name: str, version: str | None, size: int) -> memoryview | None:
        """Return the memory to receive a body into, None if the reader may choose. Raises as `expect` does."""
        del version
        start = self._served(name).spec.graph.start
        try:
            return self._dataplane.room(model_of(name, start), None, size)
        except ServeError as error:
            raise of_node(error, name, start) from None

    def submit(self, name: str, version: str | None, payload: Payload, sink: Sink) -> WorkflowTicket:
        """Queue a request for the first node; the outcome goes to `sink`, as it does of a model's.

        Raises WorkflowNotFound, ClientLimited, NodeFailed, QueueFull, ServerFull, NotInTime, Draining.
        """
        del version
        ticket = WorkflowTicket(self._dataplane, self._served(name), payload, sink, self._max_result)
        ticket.begin()
        return ticket

    def _served(self, name: str) -> Served:
        served = self._workflows.get(name)
        if served is None:
            raise WorkflowNotFound(f"Workflow not found: {name}")
        return served
