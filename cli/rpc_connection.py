"""A gRPC connection for one call after the other, which blocks, as http.client's does for HTTP/1.1."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Self

from ..core.config.address import Address
from .loadgen.http2_client import BadAnswer, Http2Client
from .loadgen.response import BadResponse
from .loadgen.rpc_answer import RpcAnswer
from .loadgen.rpc_request import RpcRequest

_READ = 1 << 18  # bytes


class NoRpc(Exception):
    """An error for a connection that ended, or on which there was no answer of gRPC. The message says why."""


class RpcConnection:
    """A connection that is opened by the first call. `timeout` is in seconds, for each read and write.

    The certificate is checked only with `verify`.
    """

    def __init__(self, address: Address, timeout: float | None = 30.0, *, verify: bool = False) -> None:
        self._address = address
        self._timeout = timeout
        self._verify = verify
        self._socket: socket.socket | None = None
        self._client = Http2Client()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def call(self, request: RpcRequest, answer: RpcAnswer) -> RpcAnswer:
        """Send a call and return `answer`, which has taken its answer. Raises OSError, and NoRpc."""
        for _ in self.pieces(request, answer):
            pass
        return answer

    def pieces(self, request: RpcRequest, answer: RpcAnswer) -> Iterator[bytes]:
        """Send a call and yield each message of `answer` as it comes, after `unwrap`. Raises OSError, and NoRpc."""
        if self._socket is None:
            self._socket = self._opened()
        under_way = _UnderWay(answer)
        given = 0
        try:
            self._client.send(request.block, request.body, under_way)
            while not under_way.over:
                self._socket.sendall(b"".join(self._client.take()))
                received = self._socket.recv(_READ)
                if received:
                    self._client.receive(received)
                else:
                    self._client.lost("the server has closed the connection")
                while given < len(answer.messages):
                    given += 1
                    yield answer.messages[given - 1]
        except (BadAnswer, BadResponse) as error:
            raise NoRpc(str(error)) from None
        if under_way.why:
            raise NoRpc(under_way.why)

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _opened(self) -> socket.socket:
        address = self._address
        if address.path:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                made.settimeout(self._timeout)
                made.connect(address.path)
            except BaseException:
                made.close()
                raise
            return made
        made = socket.create_connection((address.host, address.port), self._timeout)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not address.tls:
            return made
        context = ssl.create_default_context()
        context.set_alpn_protocols(["h2"])
        if not self._verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(made, server_hostname=address.host)


class _UnderWay:
    """The call that is under way: `over` says that its answer has come, or never will, for the reason `why`."""

    def __init__(self, answer: RpcAnswer) -> None:
        self._answer = answer
        self.over = False
        self.why = ""

    def headers_came(self, fields: Mapping[str, str], *, ended: bool) -> None:
        """Take the head of the answer, or its trailers."""
        self._answer.headers_came(fields)
        if ended:
            self._answer.end()
            self.over = True

    def data_came(self, data: bytes, *, ended: bool) -> None:
        """Take a piece of the answer's messages."""
        self._answer.data_came(data)
        if ended:
            self.lost("the answer has no trailers")

    def lost(self, why: str) -> None:
        """Note that the answer will not come."""
        self.over, self.why = True, why
