"""Where records of this server go that are sent or written by a thread of their own: an http address, or a file."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import SplitResult

from .trusted_file import open_appending

MOST_FILE = 1 << 28  # bytes of a file, which is then renamed to .1, in place of the one before


class KeptConnection:
    """A connection to the host of an address, by http or https, which is opened at the first use and kept."""

    def __init__(self, url: SplitResult, timeout: float) -> None:
        """Prepare it. One exchange may take `timeout` seconds."""
        self.host = url.hostname or ""
        self._port = url.port
        self._tls = url.scheme == "https"
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None

    @property
    def open(self) -> bool:
        """Whether there is a connection, which the other side may have closed by now."""
        return self._connection is not None

    def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post a body, and return the status. Raises OSError, http.client.HTTPException."""
        connection = self._connection
        if connection is None:
            if self._tls:
                context = ssl.create_default_context()
                connection = http.client.HTTPSConnection(self.host, self._port, timeout=self._timeout, context=context)
            else:
                connection = http.client.HTTPConnection(self.host, self._port, timeout=self._timeout)
            self._connection = connection
        connection.request("POST", path, body, dict(headers))
        answer = connection.getresponse()
        answer.read(1 << 16)
        if not answer.isclosed():
            self.close()
        return answer.status

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def append_bounded(path: Path, line: bytes, most: int) -> None:
    """Append to a file that nobody else may have written. One that would grow beyond `most` bytes is renamed before.

    Raises OSError, NotTrusted.
    """
    with suppress(FileNotFoundError):
        if path.stat().st_size + len(line) > most:
            path.replace(path.with_name(f"{path.name}.1"))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(open_appending(path), "ab", buffering=0) as file:  # noqa: PTH123  (of a descriptor)
        file.write(line)
