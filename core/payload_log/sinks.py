"""Where records go: an http sink that takes CloudEvents, or a file of JSON lines."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ..record_sinks import MOST_FILE, KeptConnection, append_bounded
from ..trusted_file import NotTrusted
from .record import PayloadRecord
from .writer import PayloadSink, SinkFailed

TIMEOUT: Final = 5.0  # seconds that a sink may take over one record
SCHEMES: Final = ("http", "https", "file")


def open_sink(target: str, headers: str = "") -> PayloadSink:
    """Return the sink that a checked address names. `headers` are those of an http sink, name=value with commas."""
    url = urlsplit(target)
    if url.scheme == "file":
        return FileSink(Path(unquote(url.path)))
    pairs = (pair.partition("=") for pair in headers.split(",") if pair.strip())
    return HttpSink(target, {name.strip(): value.strip() for name, _, value in pairs})


class FileSink:
    """A file to which records are appended as lines of JSON. There are at most two, of MOST_FILE bytes."""

    def __init__(self, path: Path, most: int = MOST_FILE) -> None:
        self._path = path
        self._most = most

    def write(self, record: PayloadRecord) -> None:
        line = record.line()
        try:
            append_bounded(self._path, line, self._most)
        except (OSError, NotTrusted) as error:
            raise SinkFailed(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Do nothing: the file is open only while it is written."""


class HttpSink:
    """An address to which each record is posted as a CloudEvent in binary mode."""

    def __init__(self, target: str, headers: Mapping[str, str], timeout: float = TIMEOUT) -> None:
        url = urlsplit(target)
        self._path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._headers = dict(headers)
        self._connection = KeptConnection(url, timeout)

    def write(self, record: PayloadRecord) -> None:
        headers = self._headers | record.headers()
        reused = self._connection.open
        try:
            status = self._connection.post(self._path, record.body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not reused or isinstance(error, TimeoutError):
                raise SinkFailed(f"{self._connection.host}: {error!r}") from error
            status = self._again(record.body, headers)  # it may have closed the connection since the last record
        if status >= 300:
            raise SinkFailed(f"{self._connection.host} answered with {status}")

    def _again(self, body: bytes, headers: Mapping[str, str]) -> int:
        try:
            return self._connection.post(self._path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise SinkFailed(f"{self._connection.host}: {error!r}") from error

    def close(self) -> None:
        self._connection.close()
