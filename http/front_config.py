"""FrontConfig: what the front is told, by the composition root or by a test."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass

from ..core.config.address import Address
from .auth import TokenAuth
from .cors import Cors
from .message.limits import Limits
from .routing.route import Api
from .site_policy import Hosts


@dataclass(frozen=True, slots=True)
class FrontConfig:
    """The addresses, limits and policies of a front.

    `listen` says where each API is served: APIs with equal addresses share a listener, except that port 0 is never
    shared, and an API that is left out is not served. `decode_input` is the setting decode_input_request; without
    `model_api` nothing can be registered or removed; without `token_auth` no key is needed. `tls` is for the addresses
    that want it, and `hosts` is what the server is called.
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
