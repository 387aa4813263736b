"""FrontConfig: what the front is told, by the composition root or by a test."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Literal, TypeAlias

from ..core.config.address import Address
from ..core.tracing.tracer import Tracer
from .app_context import AppContext
from .auth import TokenAuth
from .cors import Cors
from .message.limits import Limits
from .message.sequence_headers import SequenceHeaders
from .routing.route import Api, OpenInference
from .site_policy import Hosts, Reach
from .transport.http2.stream import Application

# Makes what serves gRPC on a listener: of the context, the APIs that the listener serves, and who can connect to it.
RpcMaker: TypeAlias = Callable[[AppContext, frozenset[Api], Reach], Application]

SharedMemory: TypeAlias = Literal["auto", "all", "off"]


@dataclass(frozen=True, slots=True)
class RpcListen:
    """A listener that speaks nothing but gRPC.

    A connection that is older than `max_age` seconds is drained, and closed `age_grace` seconds later at the latest.
    """

    address: Address
    max_age: float = inf
    age_grace: float = inf


@dataclass(frozen=True, slots=True)
class FrontConfig:
    """The addresses, limits and policies of a front.

    `listen` says where each API is served: APIs with equal addresses share a listener, except that port 0 is never
    shared, and an API that is left out is not served. `decode_input` is the setting decode_input_request; without
    `model_api` nothing can be registered or removed; without `token_auth` no key is needed. `tls` is for the addresses
    that want it, and `hosts` is what the server is called. `rpc` makes what serves gRPC, on all listeners, and
    `rpc_listen` says where each API is served by gRPC alone. `open_inference`
    is how the Open Inference Protocol is spoken, and `shared_memory` where its tensors may lie in shared memory: at
    listeners that other machines can't reach (`auto`), at `all`, or nowhere (`off`). `further` are more addresses of
    the inference API; `health_route` and `predict_route` are more paths of it. `passed` are
    listening sockets, which are used for the addresses that they have. `sequence_headers` name the sequence of a
    WebSocket.
    """

    listen: Mapping[Api, Address]
    limits: Limits = Limits()
    decode_input: bool = True
    scheduling_headers: bool = False
    model_api: bool = True
    token_auth: TokenAuth | None = None
    cors: Cors = Cors()
    tls: ssl.SSLContext | None = None
    hosts: Hosts = Hosts()
    rpc: RpcMaker | None = None
    rpc_listen: Mapping[Api, RpcListen] = field(default_factory=dict[Api, RpcListen])
    open_inference: OpenInference = "on"
    shared_memory: SharedMemory = "auto"
    tracer: Tracer | None = None
    further: tuple[Address, ...] = ()
    passed: tuple[socket.socket, ...] = ()
    health_route: str | None = None
    predict_route: str | None = None
    sequence_headers: SequenceHeaders = SequenceHeaders()
