"""Where records go: an http sink that takes CloudEvents, or a file of JSON lines."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from ..trusted_file import NotTrusted, open_appending
from .record import PayloadRecord
from .writer import PayloadSink, SinkFailed

TIMEOUT: Final = 5.0  # seconds that a sink may take over one record
MOST_FILE: Final = 1 << 28  # bytes of a file, which is then renamed to .1, in place of the one before
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
            with suppress(FileNotFoundError):
                if self._path.stat().st_size + len(line) > self._most:
                    self._path.replace(self._path.with_name(f"{self._path.name}.1"))
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(open_appending(self._path), "ab", buffering=0) as file:  # noqa: PTH123  (of a descriptor)
                file.write(line)
        except (OSError, NotTrusted) as error:
            raise SinkFailed(f"{self._path}: {error}") from error

    def close(self) -> None:
        """Do nothing: the file is open only while it is written."""


class HttpSink:
    """An address to which each record is posted as a CloudEvent in binary mode."""

    def __init__(self, target: str, headers: Mapping[str, str], timeout: float = TIMEOUT) -> None:
        url = urlsplit(target)
        self._tls = url.scheme == "https"
        self._host, self._port = url.hostname or "", url.port
        self._path = (url.path or "/") + (f"?{url.query}" if url.query else "")
        self._headers = dict(headers)
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None

    def write(self, record: PayloadRecord) -> None:
        headers = self._headers | record.headers()
        reused = self._connection is not None
        try:
            status = self._post(record.body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not reused or isinstance(error, TimeoutError):
                raise SinkFailed(f"{self._host}: {error!r}") from error
            status = self._again(record.body, headers)  # it may have closed the connection since the last record
        if status >= 300:
            raise SinkFailed(f"{self._host} answered with {status}")

    def _again(self, body: bytes, headers: Mapping[str, str]) -> int:
        try:
            return self._post(body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise SinkFailed(f"{self._host}: {error!r}") from error

    def _post(self, body: bytes, headers: Mapping[str, str]) -> int:
        connection = self._connection
        if connection is None:
            if self._tls:
                context = ssl.create_default_context()
                connection = http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout, context=context)
            else:
                connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
            self._connection = connection
        connection.request("POST", self._path, body, dict(headers))
        answer = connection.getresponse()
        answer.read(1 << 16)
        if not answer.isclosed():
            self.close()
        return answer.status

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
