"""Where spans go: a collector of OpenTelemetry over HTTP or gRPC (extra `tracing`), or a file of OTLP JSON lines."""

from __future__ import annotations

import gzip
import http.client
import importlib.util
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import InvalidConfig
from ..record_sinks import MOST_FILE, KeptConnection, append_bounded
from ..trusted_file import NotTrusted
from ..version import __version__
from .exporter import Collector, CollectorFailed
from .otlp import as_json, as_protobuf
from .span import Span

TIMEOUT = 10.0  # seconds that a collector may take over one batch
_AGAIN = frozenset((429, 502, 503, 504))  # statuses after which OTLP has a client try again
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
SCHEMES = ("http", "https", "grpc", "grpcs", "file")


def resource() -> dict[str, str]:
    """Return what all spans of this server have in common. OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES add to it."""
    found = {
        "service.name": "torchserve",
        "service.version": __version__,
        "host.name": socket.gethostname(),
        "process.pid": str(os.getpid()),
    }
    for pair in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "").split(","):
        key, equals, value = pair.partition("=")
        if equals and key.strip():
            found[unquote(key.strip())] = unquote(value.strip())
    if name := os.environ.get("OTEL_SERVICE_NAME"):
        found["service.name"] = name
    return found


def open_collector(endpoint: str, headers: Mapping[str, str]) -> Collector:
    """Return the collector that a checked endpoint names. Raises InvalidConfig where a package is missing."""
    url = urlsplit(endpoint)
    if url.scheme == "file":
        return FileCollector(Path(unquote(url.path)))
    needed = ("opentelemetry.proto", "grpc") if url.scheme.startswith("grpc") else ("opentelemetry.proto",)
    for package in needed:
        if not _installed(package):
            raise InvalidConfig(
                f"otlp_traces_endpoint={endpoint} needs the package {package}: pip install 'torchserve[tracing]'."
                " A file:// endpoint needs none."
            )
    return (RpcCollector if url.scheme.startswith("grpc") else HttpCollector)(endpoint, headers)


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


class HttpCollector:
    """A collector that takes OTLP over HTTP. A path in the endpoint is used as it is; without one it is /v1/traces."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], timeout: float = TIMEOUT) -> None:
        url = urlsplit(endpoint)
        self._path = url.path if url.path.strip("/") else "/v1/traces"
        self._headers = {**headers, "content-type": "application/x-protobuf", "content-encoding": "gzip"}
        self._resource = resource()
        self._connection = KeptConnection(url, timeout)

    def send(self, spans: Sequence[Span]) -> None:
        body = gzip.compress(as_protobuf(spans, self._resource), 1)
        reused = self._connection.open
        try:
            status = self._connection.post(self._path, body, self._headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if reused:  # the collector may have closed it since the last batch
                try:
                    status = self._connection.post(self._path, body, self._headers)
                except (OSError, http.client.HTTPException) as second:
                    self.close()
                    raise CollectorFailed(f"{self._connection.host}: {second!r}", again=True) from second
            else:
                raise CollectorFailed(f"{self._connection.host}: {error!r}", again=True) from error
        if status >= 300:
            raise CollectorFailed(f"{self._connection.host} answered with {status}", again=status in _AGAIN)

    def close(self) -> None:
        self._connection.close()


class RpcCollector:
    """A collector that takes OTLP over gRPC: `grpc://host:4317`, or with TLS `grpcs://`."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], timeout: float = TIMEOUT) -> None:
        import grpc

        url = urlsplit(endpoint)
        target = f"{url.hostname}:{url.port or 4317}" if ":" not in (url.hostname or "") else url.netloc
        self._channel: Any = (
            grpc.secure_channel(target, grpc.ssl_channel_credentials())
            if url.scheme == "grpcs"
            else grpc.insecure_channel(target)
        )
        self._export: Any = self._channel.unary_unary(_EXPORT)
        self._failure: Any = grpc.RpcError
        again = grpc.StatusCode
        self._again = {
            again.UNAVAILABLE, again.DEADLINE_EXCEEDED, again.RESOURCE_EXHAUSTED, again.ABORTED, again.CANCELLED,
            again.OUT_OF_RANGE, again.DATA_LOSS,
        }  # fmt: skip
        self._metadata = [(name.lower(), value) for name, value in headers.items()]
        self._timeout = timeout
        self._target = target
        self._resource = resource()

    def send(self, spans: Sequence[Span]) -> None:
        try:
            self._export(as_protobuf(spans, self._resource), timeout=self._timeout, metadata=self._metadata)
        except self._failure as error:
            code = error.code()
            reason = f"{self._target}: {code.name}: {error.details()}"
            raise CollectorFailed(reason, again=code in self._again) from None

    def close(self) -> None:
        self._channel.close()


class FileCollector:
    """A file to which spans are appended, as lines of OTLP JSON. There are at most two, of MOST_FILE bytes."""

    def __init__(self, path: Path, most: int = MOST_FILE) -> None:
        self._path = path
        self._most = most
        self._resource = resource()

    def send(self, spans: Sequence[Span]) -> None:
        line = as_json(spans, self._resource)
        try:
            append_bounded(self._path, line, self._most)
        except (OSError, NotTrusted) as error:
            raise CollectorFailed(f"{self._path}: {error}", again=False) from error

    def close(self) -> None:
        """Do nothing: the file is open only while it is written."""
