"""Address, where a listener binds: `http://host[:port]`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a TCP port; port 0 lets the system choose one."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether nothing beyond this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def parse_address(text: str, default_port: int = 80) -> Address:
    """`http://host[:port]`. Raises ValueError saying what is wrong."""
    parts = urlsplit(text.strip())
    if parts.scheme in {"https", "unix"}:
        raise ValueError(f"{parts.scheme}: addresses are not supported by this version, give http://host:port")
    if parts.scheme != "http" or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"Invalid binding address: {text}")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"Invalid port in binding address: {text}") from None
    return Address(parts.hostname, default_port if port is None else port)
