"""RpcRequest: a gRPC call as it is sent. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...core.config.address import Address
from ...http.transport.http2.header_block import encode_block


@dataclass(frozen=True, slots=True)
class RpcRequest:
    """A call: its header block, and its framed message."""

    block: bytes
    body: bytes


def rpc_request(address: Address, method: str, metadata: Mapping[str, str], message: bytes) -> RpcRequest:
    """Return the call of `method`, by its path, with this message."""
    fields = [
        (":method", "POST"), (":scheme", "https" if address.tls else "http"), (":path", method),
        (":authority", host_of(address)), ("te", "trailers"), ("content-type", "application/grpc"),
        ("user-agent", "torchserve"), *((name.lower(), value) for name, value in metadata.items()),
    ]  # fmt: skip
    return RpcRequest(encode_block(fields), b"\0" + len(message).to_bytes(4) + message)


def host_of(address: Address) -> str:
    """Return what requests to an address name as their host."""
    return "localhost" if address.path else str(address).partition("://")[2]
