"""Front: binds the listeners, and ends them without losing a request. The one name that the composition root needs."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..core.errors import InvalidConfig
from .accesslog import Entry
from .auth import Guard
from .connection import Acceptor
from .cors import Cors
from .door import Door
from .lean import LeanAcceptor
from .limits import Limits
from .reply import PLAIN, Letterhead
from .routes import Face
from .services import Services

if TYPE_CHECKING:
    from ..core.controlplane import ControlPlane
    from ..core.dataplane import DataPlane
    from ..core.metrics.store import MetricStore

log = logging.getLogger(__name__)

_BACKLOG = 1024  # connections that the kernel holds until they are accepted
_POLL = 0.01  # seconds between two looks at whether a drain is done
_HINTS = {
    errno.EADDRINUSE: "another program listens there; stop it or choose another port",
    errno.EACCES: "this user may not bind that port; choose one above 1023",
    errno.EADDRNOTAVAIL: "this machine has no such address",
}


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to listen; port 0 lets the system choose one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


class Front:
    """The HTTP side of the server. `start`, then `drain` and `stop`.

    `listen` says where each face is served; faces with equal listeners share one (port 0 is never shared), a face that
    is left out is not served. `access` gets an Entry per request, whose text is made by `str`, off the event loop.
    """

    def __init__(
        self,
        *,
        dataplane: DataPlane,
        controlplane: ControlPlane,
        metrics: MetricStore,
        listen: Mapping[Face, Listener],
        access: Callable[[Entry], None],
        limits: Limits | None = None,
        decode_input: bool = True,
        model_api: bool = True,
        guard: Guard | None = None,
        cors: Cors | None = None,
    ) -> None:
        more = cors.fields() if cors else ()
        self._services = Services(
            dataplane, controlplane, metrics, access, limits or Limits(),
            decode_input=decode_input, model_api=model_api, guard=guard, letterhead=Letterhead(more) if more else PLAIN,
        )  # fmt: skip
        self._listen = dict(listen)
        self._doors: list[Door] = []
        self._acceptors: list[Acceptor] = []
        self._lean: list[LeanAcceptor] = []
        self._servers: list[asyncio.Server] = []
        self.bound: dict[Face, Listener] = {}

    async def start(self) -> None:
        """Listen. Raises InvalidConfig, with nothing left listening, if an address can't be had."""
        try:
            for listener, faces in self._by_listener():
                await self._bind(listener, faces)
        except InvalidConfig:
            await self.stop()
            raise
        for face, listener in self.bound.items():
            log.info("%s API bind to: %s", face.capitalize(), listener)

    async def drain(self, timeout: float) -> bool:
        """Accept no new connection, answer what has arrived, close each connection behind its answer.

        Returns whether all was answered within `timeout` seconds. Idle connections stay until `stop`: a request that
        is on its way on one of them is answered too.
        """
        self._services.draining = True
        for server in self._servers:
            server.close()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while self._busy():
            if loop.time() >= deadline:
                log.warning("drain: requests without an answer after %.1f s", timeout)
                return False
            await asyncio.sleep(_POLL)
        return True

    async def stop(self) -> None:
        """Close all listeners and connections. What is unanswered stays so; `drain` comes before."""
        self._services.draining = True
        for server in self._servers:
            server.close()
        for lean in self._lean:
            lean.close()
        _ = await asyncio.gather(*(acceptor.shutdown(0.1) for acceptor in self._acceptors))
        self._servers.clear()
        self._acceptors.clear()
        self._lean.clear()
        self._doors.clear()
        self.bound.clear()

    def _busy(self) -> bool:
        doors = any(door.active or door.working for door in self._doors)
        return doors or any(acceptor.busy for acceptor in (*self._acceptors, *self._lean))

    def _by_listener(self) -> list[tuple[Listener, list[Face]]]:
        groups: list[tuple[Listener, list[Face]]] = []
        for face, listener in self._listen.items():
            shared = next((faces for other, faces in groups if other == listener and listener.port), None)
            if shared is None:
                groups.append((listener, [face]))
            else:
                shared.append(face)
        return groups

    async def _bind(self, listener: Listener, faces: list[Face]) -> None:
        door = Door(self._services, faces)
        acceptor = Acceptor(door, self._services)
        lean = LeanAcceptor(acceptor, self._services) if "inference" in faces else None
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                lean or acceptor, listener.host, listener.port, backlog=_BACKLOG, reuse_address=True
            )
        except (OSError, OverflowError) as error:
            if lean is not None:
                lean.close()
            raise _cannot_listen(listener, faces, error) from None
        self._doors.append(door)
        self._acceptors.append(acceptor)
        if lean is not None:
            self._lean.append(lean)
        self._servers.append(server)
        port = server.sockets[0].getsockname()[1]
        self.bound.update(dict.fromkeys(faces, Listener(listener.host, port)))


def _cannot_listen(listener: Listener, faces: list[Face], error: Exception) -> InvalidConfig:
    keys = ", ".join(f"{face}_address" for face in faces)
    if isinstance(error, socket.gaierror):
        cause = "that host name has no address"
    elif isinstance(error, OSError) and error.errno:
        cause = os.strerror(error.errno).lower()
        hint = _HINTS.get(error.errno)
        cause = f"{cause} ({hint})" if hint else cause
    else:
        cause = str(error)
    return InvalidConfig(f"{keys}: can't listen on {listener}: {cause}")
