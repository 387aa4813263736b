"""An HTTP connection to a server at any kind of address: http, https or a unix socket."""

from __future__ import annotations

import http.client
import socket
import ssl

from ..core.config.address import Address


def connection_to(
    address: Address, timeout: float | None = 30.0, *, verify: bool = False
) -> http.client.HTTPConnection:
    """Return an unopened connection to `address`, which the caller must close. `timeout` is in seconds, for each read
    and write.

    The certificate is checked only with `verify`: our own server on this machine may have a self-signed one.
    """
    if address.path:
        return _UnixConnection(address.path, timeout)
    if not address.tls:
        return http.client.HTTPConnection(address.host, address.port, timeout=timeout)
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(address.host, address.port, timeout=timeout, context=context)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
