"""AllowedUrls: which URLs an archive may be fetched from, and which addresses."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ..bounded_match import TooCostly, matching
from ..errors import ArchiveNotFound, InvalidConfig
from .public_addresses import is_metadata, is_public

log = logging.getLogger(__name__)

TORCHSERVE_DEFAULT = ("file://.*", "http(s)?://.*")

# Characters that browsers, regular expressions and parsers of URLs read differently: a backslash, whitespace, controls.
AMBIGUOUS = re.compile(r"[\x00-\x20\x7f\\]")


class AllowedUrls:
    """The setting allowed_urls: regular expressions, one of which a URL must match in full, ignoring case.

    While the setting is unset (None, or TorchServe's default), it permits http and https to public addresses, and
    file:// below the model store. Once an administrator has written patterns, a matching host may have any address, and
    s3:// and gs:// URLs, which are read with the server's own account, may match too. What begins with `own`, a gs://
    URL that the platform has given to this server, is permitted while the setting is unset.
    """

    def __init__(self, patterns: Sequence[str] | None = None, own: str = "") -> None:
        self._own: str = own
        self.unset: bool = patterns is None or tuple(patterns) == TORCHSERVE_DEFAULT
        self._patterns: list[str] = [stripped for p in patterns or () if (stripped := p.strip())]
        try:
            for pattern in self._patterns:
                _ = re.compile(pattern, re.IGNORECASE)
        except re.error as error:
            raise InvalidConfig(f"allowed_urls: {error.pattern!r} is no regular expression: {error}") from None

    def check(self, url: str, store: Path) -> None:
        """Raise ArchiveNotFound unless `url` is permitted. Blocks if there are patterns: see `bounded_match`."""
        if not self._permits(url, store):
            if self.unset and urlsplit(url).scheme in {"s3", "gs"}:
                raise ArchiveNotFound(f"Model not found at: {url}")
            raise ArchiveNotFound(f"Given URL {url} does not match any allowed URL(s)")

    def _permits(self, url: str, store: Path) -> bool:
        try:
            parts = urlsplit(url)
            port_is_valid = parts.port is None or parts.port > 0
        except ValueError:
            return False
        if AMBIGUOUS.search(url) or "@" in parts.netloc or not port_is_valid:
            return False
        if parts.scheme == "file":
            if parts.netloc not in ("", "localhost"):
                return False
        elif parts.scheme in {"s3", "gs"}:
            if not parts.netloc or not parts.path.strip("/"):
                return False
            if self.unset:
                return parts.scheme == "gs" and bool(self._own) and url.startswith(self._own)
        elif parts.scheme not in ("http", "https") or not parts.hostname:
            return False
        if self.unset:
            return parts.scheme != "file" or Path(unquote(parts.path)).is_relative_to(store.absolute())
        try:
            return bool(matching(self._patterns, [url], any_case=True))
        except (TooCostly, OSError) as error:
            log.warning("allowed_urls can't be compared with %s: %s", url, error)
            raise ArchiveNotFound(f"Given URL {url} can't be compared with allowed_urls: {error}") from None

    def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of `host`.

        Raises OSError, and ArchiveNotFound if one of the addresses is a cloud's metadata service or, while the setting
        is unset, is not public.
        """
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for text in addresses:
            address = ip_address(text)
            if is_metadata(address):
                raise ArchiveNotFound(f"The host {host} has the address {text}, a cloud's metadata service")
            if self.unset and not is_public(address):
                raise ArchiveNotFound(
                    f"The host {host} has the address {text}, which is not public; name it in allowed_urls to permit it"
                )
        return addresses
