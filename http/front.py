"""Front: binds the listeners, drains them without losing a request, and ends them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import TYPE_CHECKING, cast

from ..core.config.address import Address
from ..core.errors import InvalidConfig
from ..core.oip.regions import Regions
from .accesslog import Entry
from .app_context import AppContext
from .board import Board
from .front_config import FrontConfig, RpcListen
from .message.reply import PLAIN, DefaultHeaders
from .routes import DOCS_ROUTES, dashboard_routes, further_routes, routes
from .routing.route import Api, Route
from .routing.router import Router
from .routing.table import Table
from .site_policy import Reach, SitePolicy
from .transport.accepting import PlainServer, most_connections
from .transport.aiohttp_handler import AiohttpHandler
from .transport.aiohttp_protocol import AiohttpProtocol
from .transport.aiohttp_server import AiohttpServer
from .transport.fast_http import FastHttpFactory, FastHttpProtocol
from .transport.http2.http_application import HttpApplication
from .transport.http2.protocol import Http2Factory, Http2Protocol
from .transport.http2.stream import Application
from .transport.listener import BoundListener, bind, same_socket, take_passed
from .transport.tls_listener import TlsListener

if TYPE_CHECKING:
    from ..core.controlplane import ControlPlane
    from ..core.dataplane import DataPlane
    from ..core.metrics.store import MetricStore
    from ..core.overview import Overview
    from ..core.workflows.registry import Workflows

log = logging.getLogger(__name__)

_LAST_BYTES = 1.0  # seconds
_REACHES: tuple[Reach, ...] = ("unix", "loopback", "network")
_POLL = 0.01  # seconds between two looks at whether a drain is done


class Front:
    """The HTTP side of the server: `start` it, then `drain` and `stop` it.

    `access` gets an Entry per answered request and must not block; whoever writes the entry makes its text, off the
    event loop.
    """

    def __init__(
        self,
        config: FrontConfig,
        *,
        dataplane: DataPlane,
        controlplane: ControlPlane,
        metrics: MetricStore,
        access: Callable[[Entry], None],
        overview: Overview | None = None,
    ) -> None:
        """Without `overview` there is no dashboard."""
        cors_headers = config.cors.fields()
        self._config = config
        self._context = AppContext(
            dataplane, controlplane, metrics, access, config.limits,
            decode_input=config.decode_input, scheduling_headers=config.scheduling_headers,
            model_api=config.model_api, token_auth=config.token_auth,
            default_headers=DefaultHeaders(cors_headers) if cors_headers else PLAIN,
            sites=SitePolicy(config.hosts, config.cors.origin, config.token_auth is not None),
            regions=Regions() if config.shared_memory != "off" and config.open_inference != "off" else None,
            regions_everywhere=config.shared_memory == "all", tracer=config.tracer, grpc=config.rpc is not None,
            sequence_headers=config.sequence_headers,
        )  # fmt: skip
        if overview is not None:
            self._context.board = Board(overview, config.limits)
        self._inference_is: Reach = "unix"  # how far inference can be reached
        self._passed = list(config.passed)
        self._handlers: list[AiohttpHandler] = []
        self._aiohttp_servers: list[AiohttpServer] = []
        self._fast_factories: list[FastHttpFactory] = []
        self._http2_factories: list[Http2Factory] = []
        self._servers: list[PlainServer | TlsListener] = []
        self._bound: list[BoundListener] = []
        self.bound: dict[Api, Address] = {}
        self.rpc_bound: dict[Api, Address] = {}

    def serve_workflows(self, workflows: Workflows) -> None:
        """Answer the routes of workflows, too. This must be called before `start`."""
        self._context.workflows = workflows

    async def start(self) -> None:
        """Listen on all addresses. Raises InvalidConfig, with nothing left listening, if one can't be bound."""
        try:
            for address, apis in self._by_address():
                await self._bind(address, apis, ", ".join(f"{api}_address" for api in apis))
            further = [
                await self._bind(address, ["inference"], "further_inference_addresses")
                for address in self._config.further
            ]
            for api, listen in self._config.rpc_listen.items():
                await self._bind_rpc(api, listen)
        except InvalidConfig:
            await self.stop()
            raise
        while self._passed:
            unused = self._passed.pop()
            log.warning("The service manager's socket at %s is not used: no API has that address", unused.getsockname())
            unused.close()
        for api, address in self.bound.items():
            log.info("%s API bind to: %s", api.capitalize(), address)
        for address in further:
            log.info("Inference API is served at %s as well", address)
        for api, address in self.rpc_bound.items():
            log.info("gRPC %s API bind to: %s", api, address)

    async def drain(self, timeout: float) -> bool:
        """Accept no new connection, answer what has arrived, and close each connection behind its last answer.

        Returns whether all requests were answered within `timeout` seconds. A body or an answer that makes no progress
        for `drain_idle` seconds is given up. Idle connections stay until `stop`, so that a request that is on its way
        on one of them is answered too.
        """
        self._context.draining = True
        self._close_servers()
        self._close_board()
        for each in (*self._handlers, *self._fast_factories, *self._http2_factories):
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
        """Close all listeners and connections. Requests without an answer get none: call `drain` before."""
        self._context.draining = True
        self._close_servers()
        self._close_board()
        for factory in (*self._fast_factories, *self._http2_factories):
            factory.close()
        _ = await asyncio.gather(*(server.shutdown(0.1) for server in self._aiohttp_servers))
        await self._see_tls_off()
        self._servers.clear()
        self._bound.clear()
        self._aiohttp_servers.clear()
        self._fast_factories.clear()
        self._http2_factories.clear()
        self._handlers.clear()
        self._context.unsent.close()
        if self._context.regions is not None:
            self._context.regions.close()
        self.bound.clear()
        self.rpc_bound.clear()

    async def _see_tls_off(self) -> None:
        """Wait until TLS transports have closed: they send their last bytes meanwhile, and don't say how many."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _LAST_BYTES
        while any(isinstance(each, TlsListener) and each.open for each in self._servers) and loop.time() < deadline:
            await asyncio.sleep(_POLL)

    def _busy(self) -> bool:
        handling = any(handler.active or handler.router.working for handler in self._handlers)
        return (
            handling
            or any(each.busy for each in (*self._aiohttp_servers, *self._fast_factories, *self._http2_factories))
            or any(server.sending for server in self._servers if isinstance(server, TlsListener))
        )

    def _by_address(self) -> list[tuple[Address, list[Api]]]:
        groups: list[tuple[Address, list[Api]]] = []
        # Inference first: the dashboard predicts no further than it can be reached.
        for api, address in sorted(self._config.listen.items(), key=lambda each: each[0] != "inference"):
            for other, apis in groups:
                if address.port and other.port == address.port:
                    _check_port(f"{apis[0]}_address={other} and {api}_address={address}", other, address)
            shared = next((apis for other, apis in groups if same_socket(address, other)), None)
            if shared is None:
                groups.append((address, [api]))
            else:
                shared.append(api)
        return groups

    async def _bind(self, address: Address, apis: list[Api], keys: str) -> Address:
        """Serve APIs at an address that the settings `keys` name, and return it with the port that was chosen."""
        bound = take_passed(address, self._passed) or await bind(address, keys)
        self._bound.append(bound)
        if "inference" in apis:
            self._inference_is = bound.reach
        table = Table(apis, self._rows(bound.reach))
        router = Router(self._context, table, bound.reach)
        handler = AiohttpHandler(router)
        http2 = Http2Factory(HttpApplication(self._context, router, self._rpc(apis, bound.reach)))
        self._http2_factories.append(http2)
        server = AiohttpServer(handler, self._context, http2)
        self._handlers.append(handler)
        self._aiohttp_servers.append(server)
        factory: Callable[[], asyncio.BaseProtocol] = server
        if "inference" in apis:
            factory = fast = FastHttpFactory(server, self._context, table, bound.reach)
            self._fast_factories.append(fast)
        while bound.sockets:
            self._servers.append(self._serve(bound.sockets.pop(), factory, tls=address.tls))
        for api in apis:
            self.bound.setdefault(api, bound.address)
        return bound.address

    async def _bind_rpc(self, api: Api, listen: RpcListen) -> None:
        """Listen for gRPC alone, unless its address is one where the API is served over all versions of HTTP."""
        shared = self._config.listen.get(api)
        if shared is not None and same_socket(listen.address, shared):
            self.rpc_bound[api] = self.bound[api]
            return
        bound = take_passed(listen.address, self._passed) or await bind(
            listen.address, f"grpc_{api}_address, grpc_{api}_port"
        )
        self._bound.append(bound)
        application = HttpApplication(self._context, None, self._rpc([api], bound.reach))
        factory = Http2Factory(application, max_age=listen.max_age, age_grace=listen.age_grace)
        self._http2_factories.append(factory)
        while bound.sockets:
            self._servers.append(self._serve(bound.sockets.pop(), factory, tls=listen.address.tls))
        self.rpc_bound[api] = bound.address

    def _rpc(self, apis: list[Api], reach: Reach) -> Application | None:
        return self._config.rpc(self._context, frozenset(apis), reach) if self._config.rpc is not None else None

    def _rows(self, reach: Reach) -> tuple[Route, ...]:
        """Return the rows for a listener: beyond loopback nothing but the management API commands without a key."""
        config = self._config
        rows = routes(config.open_inference, self._context.regions_at(reach))
        rows = (*rows, *further_routes(rows, config.health_route, config.predict_route))
        if self._context.board is not None:
            keyed = config.token_auth is not None
            predicts = keyed or _REACHES.index(self._inference_is) >= _REACHES.index(reach)
            rows = (*rows, *dashboard_routes(trusted=keyed or reach != "network", predicts=predicts), *DOCS_ROUTES)
        if reach != "network" or self._config.token_auth is not None:
            return rows
        return tuple([row for row in rows if not row.commands_elsewhere])

    def _serve(
        self, bound: socket.socket, factory: Callable[[], asyncio.BaseProtocol], *, tls: bool
    ) -> PlainServer | TlsListener:
        most = most_connections()
        if tls:
            assert self._config.tls is not None, "an https address needs a context"
            return TlsListener(bound, factory, self._config.tls, self._context, self, most)
        return PlainServer(bound, factory, self, most)

    # ---- accepting.Connections

    def open(self) -> int:
        """Return how many connections there are."""
        counted = sum([len(each.connections) for each in (*self._fast_factories, *self._http2_factories)])
        return counted + sum([each.open for each in self._aiohttp_servers])

    def shed(self, count: int) -> int:
        """Close at most `count` connections on which nothing is going on, the longest idle first."""
        found = [
            (connection.idle_since, connection)
            for each in (*self._aiohttp_servers, *self._fast_factories, *self._http2_factories)
            for connection in cast("Iterable[AiohttpProtocol | FastHttpProtocol | Http2Protocol]", each.connections)
        ]
        idle = sorted(((since, each) for since, each in found if since is not None), key=itemgetter(0))[:count]
        for _, connection in idle:
            connection.close_idle()
        return len(idle)

    def _close_board(self) -> None:
        if self._context.board is not None:
            self._context.board.close()

    def _close_servers(self) -> None:
        for server in self._servers:
            server.close()
        for bound in self._bound:
            bound.remove()


def _check_port(keys: str, one: Address, other: Address) -> None:
    """Raise InvalidConfig if two addresses with one port can't be had beside each other."""
    if one.place == other.place and one.tls != other.tls:
        raise InvalidConfig(f"{keys} are one port, which has TLS or not")
    if one.everywhere != other.everywhere:
        raise InvalidConfig(
            f"{keys} are one port: {one if one.everywhere else other} is every address of this machine. Choose another"
            " port for one of them, or the same address for both"
        )
