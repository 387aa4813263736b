"""Front: binds the listeners, and ends them without losing a request. The one name that the composition root needs."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, cast

from ..core.errors import InvalidConfig
from .accesslog import Entry
from .app_context import AppContext
from .auth import TokenAuth
from .cors import Cors
from .message.limits import Limits
from .message.reply import PLAIN, DefaultHeaders
from .routes import ROUTES
from .routing.route import Api
from .routing.table import Table
from .site_policy import Hosts, SitePolicy
from .transport.accepting import PlainServer, most_connections
from .transport.aiohttp_handler import AiohttpHandler
from .transport.aiohttp_protocol import AiohttpProtocol, AiohttpServer
from .transport.fast_http import FastHttpFactory, FastHttpProtocol
from .transport.listener import BoundListener, Listener, bind
from .transport.tls_listener import TlsListener

if TYPE_CHECKING:
    from ..core.controlplane import ControlPlane
    from ..core.dataplane import DataPlane
    from ..core.metrics.store import MetricStore

log = logging.getLogger(__name__)

_LAST_BYTES = 1.0  # seconds
_POLL = 0.01  # seconds between two looks at whether a drain is done


class Front:
    """The HTTP side of the server. `start`, then `drain` and `stop`.

    `listen` says where each api is served; apis with equal listeners share one (port 0 is never shared), a api that
    is left out is not served. `tls` is for the listeners that want it; `hosts` is what the
    server is called. `access` gets an Entry per request, whose text is made by `str`, off the event loop.
    """

    def __init__(
        self,
        *,
        dataplane: DataPlane,
        controlplane: ControlPlane,
        metrics: MetricStore,
        listen: Mapping[Api, Listener],
        access: Callable[[Entry], None],
        limits: Limits | None = None,
        decode_input: bool = True,
        scheduling_headers: bool = False,
        model_api: bool = True,
        token_auth: TokenAuth | None = None,
        cors: Cors | None = None,
        tls: ssl.SSLContext | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        more = cors.fields() if cors else ()
        self._context = AppContext(
            dataplane, controlplane, metrics, access, limits or Limits(),
            decode_input=decode_input, scheduling_headers=scheduling_headers, model_api=model_api,
            token_auth=token_auth,
            default_headers=DefaultHeaders(more) if more else PLAIN,
            sites=SitePolicy(hosts or Hosts(), cors.origin if cors else "", token_auth is not None),
        )  # fmt: skip
        self._listen = dict(listen)
        self._tls = tls
        self._doors: list[AiohttpHandler] = []
        self._acceptors: list[AiohttpServer] = []
        self._lean: list[FastHttpFactory] = []
        self._servers: list[PlainServer | TlsListener] = []
        self._bound: list[BoundListener] = []
        self.bound: dict[Api, Listener] = {}

    async def start(self) -> None:
        """Listen. Raises InvalidConfig, with nothing left listening, if an address can't be had."""
        try:
            for listener, apis in self._by_listener():
                await self._bind(listener, apis)
        except InvalidConfig:
            await self.stop()
            raise
        for api, listener in self.bound.items():
            log.info("%s API bind to: %s", api.capitalize(), listener)

    async def drain(self, timeout: float) -> bool:
        """Accept no new connection, answer what has arrived, close each connection behind its last answer.

        A body, or an answer, that makes no progress for `drain_idle` seconds is given up meanwhile. Returns whether all
        was answered within `timeout` seconds. Idle connections stay until `stop`: a request that is on its way on one
        of them is answered too.
        """
        self._context.draining = True
        self._close_servers()
        for each in (*self._doors, *self._lean):
            each.drain()
        self._context.unsent.drain(self._context.limits.drain_idle)
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
        self._context.draining = True
        self._close_servers()
        for lean in self._lean:
            lean.close()
        _ = await asyncio.gather(*(acceptor.shutdown(0.1) for acceptor in self._acceptors))
        await self._see_tls_off()
        self._servers.clear()
        self._bound.clear()
        self._acceptors.clear()
        self._lean.clear()
        self._doors.clear()
        self._context.unsent.close()
        self.bound.clear()

    async def _see_tls_off(self) -> None:
        """A TLS transport does not tell what it has yet to send; it sends that while it is being closed."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LAST_BYTES
        while any(isinstance(each, TlsListener) and each.open for each in self._servers) and loop.time() < deadline:
            await asyncio.sleep(_POLL)

    def _busy(self) -> bool:
        doors = any(door.active or door.working for door in self._doors)
        return (
            doors
            or any(acceptor.busy for acceptor in (*self._acceptors, *self._lean))
            or any(server.sending for server in self._servers if isinstance(server, TlsListener))
        )

    def _by_listener(self) -> list[tuple[Listener, list[Api]]]:
        groups: list[tuple[Listener, list[Api]]] = []
        for api, listener in self._listen.items():
            for other, apis in groups:
                if listener.port and (other.host, other.port) == (listener.host, listener.port) and other != listener:
                    raise InvalidConfig(
                        f"{apis[0]}_address={other} and {api}_address={listener} are one port, which has TLS or not"
                    )
            shared = next((apis for other, apis in groups if listener.same(other)), None)
            if shared is None:
                groups.append((listener, [api]))
            else:
                shared.append(api)
        return groups

    async def _bind(self, listener: Listener, apis: list[Api]) -> None:
        bound = await bind(listener, ", ".join(f"{api}_address" for api in apis))
        self._bound.append(bound)
        table = Table(apis, ROUTES)
        acceptor = AiohttpServer(door := AiohttpHandler(self._context, table, bound.reach), self._context)
        self._doors.append(door)
        self._acceptors.append(acceptor)
        factory: Callable[[], asyncio.BaseProtocol] = acceptor
        if "inference" in apis:
            factory = lean = FastHttpFactory(acceptor, self._context, table, bound.reach)
            self._lean.append(lean)
        while bound.sockets:
            self._servers.append(self._serve(bound.sockets.pop(), factory, tls=listener.tls))
        self.bound.update(dict.fromkeys(apis, bound.listener))

    def _serve(
        self, bound: socket.socket, factory: Callable[[], asyncio.BaseProtocol], *, tls: bool
    ) -> PlainServer | TlsListener:
        most = most_connections()
        if tls:
            assert self._tls is not None, "an https address needs a context"
            return TlsListener(bound, factory, self._tls, self._context, self, most)
        return PlainServer(bound, factory, self, most)

    # ---- accepting.Connections

    def open(self) -> int:
        """Return how many connections there are."""
        return sum([each.open for each in self._acceptors]) + sum([len(each.connections) for each in self._lean])

    def shed(self, count: int) -> int:
        """Close at most `count` connections on which nothing is going on, the longest idle first."""
        found = [
            (connection.idle_since, connection)
            for each in (*self._acceptors, *self._lean)
            for connection in cast("Iterable[AiohttpProtocol | FastHttpProtocol]", each.connections)
        ]
        idle = sorted(((since, each) for since, each in found if since is not None), key=itemgetter(0))[:count]
        for _, connection in idle:
            connection.close_idle()
        return len(idle)

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()
        for bound in self._bound:
            bound.remove()
