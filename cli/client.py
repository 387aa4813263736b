"""A client of the management and metrics APIs. Its errors are one-line messages for a terminal."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import click

from ..core.config.address import Address
from .connection import connection_to
from .target import Target

_KEYLESS = "InvalidKeyException"


class Refused(click.ClickException):
    """An error response of the server. `message` is the server's own text, `status` the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """A client that keeps its connections open between calls. All its methods raise click.ClickException."""

    def __init__(self, target: Target, timeout: float | None = 30.0) -> None:
        """Make a client of the server at `target`.

        `timeout`, in seconds, applies to each read from a socket. With None the client waits as long as the server's
        own limits let an operation take.
        """
        self.target = target
        self._timeout = timeout
        self._kept: dict[Address, http.client.HTTPConnection] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for connection in self._kept.values():
            connection.close()
        self._kept.clear()

    def manage(self, method: str, *path: str, query: Mapping[str, object] | None = None) -> Any:
        """Call the management API and return the JSON of its response.

        `path` is given as unquoted segments. Parameters of `query` that are None are left out.
        """
        body, _ = self.fetch(method, *path, query=query)
        try:
            return json.loads(body)
        except ValueError:
            raise click.ClickException(f"{self.target.management} is no management API: it answers no JSON") from None

    def fetch(
        self, method: str, *path: str, query: Mapping[str, object] | None = None
    ) -> tuple[bytes, http.client.HTTPMessage]:
        """Call the management API as `manage` does, and return the body and the headers of its response."""
        where = "/" + "/".join(quote(segment, safe="") for segment in path)
        given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        return self._ask(self.target.management, method, f"{where}?{urlencode(given)}" if given else where)

    def models(self) -> Iterator[dict[str, Any]]:
        """Yield each registered model's entry in the model list, one page after another."""
        token: str | None = None
        while True:
            page = self.manage("GET", "models", query={"limit": 100, "next_page_token": token})
            yield from page["models"]
            token = page.get("nextPageToken")
            if token is None:
                return

    def scrape(self) -> str:
        """Return the Prometheus text of /metrics."""
        address = self.target.metrics
        if address is None:
            raise click.ClickException("The server's metrics API is off (enable_metrics_api=false): nothing to show.")
        return self._ask(address, "GET", "/metrics")[0].decode()

    def _ask(self, address: Address, method: str, where: str) -> tuple[bytes, http.client.HTTPMessage]:
        # The metrics API asks for no key, so the key is sent to the management API only.
        secret = self.target.token if address == self.target.management else ""
        try:
            response, body = self._exchange(
                address, method, where, {"Authorization": f"Bearer {secret}"} if secret else {}
            )
        except ssl.SSLCertVerificationError as error:
            raise click.ClickException(
                f"{address}: {error.verify_message} (--insecure takes any certificate)"
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise click.ClickException(self._unreachable(address, error)) from None
        if response.status >= 300:
            raise Refused(_message(body, response, address, keyed=bool(secret)), response.status)
        return body, response.headers

    def _exchange(
        self, address: Address, method: str, where: str, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        connection = self._kept.get(address)
        if connection is not None and method == "GET":
            # The server may have closed this connection since its last use. Only a new one shows whether it runs.
            with contextlib.suppress(OSError, http.client.HTTPException):
                return _exchange(connection, method, where, headers)
        if connection is not None:
            connection.close()
        connection = connection_to(address, self._timeout, verify=self.target.verify(address))
        self._kept[address] = connection
        return _exchange(connection, method, where, headers)

    def _unreachable(self, address: Address, error: Exception) -> str:
        if isinstance(error, (ConnectionRefusedError, FileNotFoundError)):
            return (
                f"No server answers at {address} ({self.target.source}): start one with `torchserve --start`,"
                " or name its address with --management."
            )
        cause = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        return f"{address} ({self.target.source}) can't be called: {cause}"


def _exchange(
    connection: http.client.HTTPConnection, method: str, where: str, headers: dict[str, str]
) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request(method, where, headers=headers)
    response = connection.getresponse()
    return response, response.read()


def _message(body: bytes, response: http.client.HTTPResponse, address: Address, *, keyed: bool) -> str:
    try:
        told = json.loads(body)
        text = " ".join(str(told["message"]).split())
    except (ValueError, LookupError, TypeError):
        return f"{address} answered {response.status} {response.reason}"
    if told.get("type") == _KEYLESS:
        return (
            f"{text} ({'the key that was sent is not good' if keyed else 'give the management key'}: --token, TS_TOKEN)"
        )
    return text


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)
