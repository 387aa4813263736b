"""gRPC's standard health check: of the server, of its gRPC services, and of each model by its name.

The server is SERVING when GET /health/ready says 200, and a model when its default version has its workers.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ...core.errors import ModelNotFound
from ...core.payload import Body
from ..app_context import AppContext
from .answering import parse
from .method import OpenCall
from .protos.messages import Message, message
from .status import Code, RpcFailure, Status

SERVICE = "grpc.health.v1.Health"

_Request = message("grpc.health.v1.HealthCheckRequest")
_Response = message("grpc.health.v1.HealthCheckResponse")
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3


class Health:
    """The health of what is served; `services` are the names of the gRPC services of a port."""

    def __init__(self, services: frozenset[str]) -> None:
        self._services = services

    def check(self, context: AppContext, asked: Any) -> Message:
        """Answer Check. Raises RpcFailure with NOT_FOUND for what there is not."""
        status = self.status(context, asked.service)
        if status == _SERVICE_UNKNOWN:
            raise RpcFailure(
                Code.NOT_FOUND, f"There is no gRPC service and no model of the name {asked.service[:256]}."
            )
        return _Response(status=status)

    def status(self, context: AppContext, name: str) -> int:
        """Return the status of the server (""), of a service or of a model."""
        plane = context.controlplane
        if not name or name in self._services:
            serves = not context.draining and not plane.missing()
        else:
            try:
                serves = not context.draining and plane.ready(name)
            except ModelNotFound:
                return _SERVICE_UNKNOWN
        return _SERVING if serves else _NOT_SERVING


class Watch:
    """The exchange of Watch: a message now, and one whenever the status has changed."""

    __slots__ = ("_call", "_health", "_last", "_name", "_timer")

    def __init__(self, call: OpenCall, health: Health) -> None:
        self._call = call
        self._health = health
        self._name = ""
        self._last = -1
        self._timer: asyncio.TimerHandle | None = None

    def message(self, data: Body) -> None:
        """Begin to watch."""
        self._name = parse(_Request, data).service
        self._look()

    def _look(self) -> None:
        status = self._health.status(self._call.context, self._name)
        if status != self._last and not self._call.full:
            self._last = status
            self._call.send((_Response(status=status).SerializeToString(),))
        if self._call.draining:
            self._call.finish(Status(Code.UNAVAILABLE, "The server is stopping."))
            return
        self._timer = asyncio.get_running_loop().call_later(self._call.context.limits.health_look, self._look)

    def half_closed(self) -> None:
        """Go on watching."""

    def cancelled(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()

    def writable(self) -> None:
        """Go on: the next look sends what has changed."""
