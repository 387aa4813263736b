"""Address: where a listener binds: `http://host[:port]`, `https://host[:port]` or `unix:/path`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

_LONGEST_PATH = 107  # bytes: the kernel's limit for a unix socket
TLS_PORTS = {80: 443, 8081: 8444, 8082: 8445}  # by the default port without TLS, as TorchServe has them


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a TCP port, with or without TLS, or the `path` of a unix socket. Port 0 is any free one."""

    host: str
    port: int
    tls: bool = False
    path: str = ""

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach the address."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def everywhere(self) -> bool:
        """Whether this is 0.0.0.0 or [::], which both mean every address of the machine, of either IP version."""
        try:
            return not self.path and ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False

    @property
    def place(self) -> tuple[str, int, str]:
        """The host, port and path, the same for all spellings of every address."""
        return "*" if self.everywhere else self.host, self.port, self.path

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self.tls else ''}://{host}:{self.port}"


def parse_address(text: str, default_port: int = 80) -> Address:
    """Return the address in `text`; `default_port` is the one without TLS. Raises ValueError with the cause."""
    text = text.strip()
    if text.lower().startswith("unix:"):
        return _unix(text)
    parts = urlsplit(text)
    tls = parts.scheme == "https"
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
        raise ValueError(f"Invalid binding address: {text} (http://host:port, https://host:port or unix:/path)")
    try:
        port = parts.port
    except ValueError:
        raise ValueError(f"Invalid port in binding address: {text}") from None
    if port is None:
        port = TLS_PORTS.get(default_port, default_port) if tls else default_port
    return Address(parts.hostname.replace("%25", "%"), port, tls)  # RFC 6874: the zone of fe80::1%25eth0


def _unix(text: str) -> Address:
    path = text[5:].removeprefix("//")
    if not path.startswith("/") or path.endswith("/") or not path.isprintable():
        raise ValueError(f"Invalid binding address: {text} (unix: needs the whole path of a socket, unix:/path)")
    if len(path.encode()) > _LONGEST_PATH:
        raise ValueError(f"{text}: the path of a unix socket has at most {_LONGEST_PATH} bytes")
    return Address("", 0, path=path)
