"""`torchserve predict --url`: predictions of a server that runs, by REST or by gRPC."""

from __future__ import annotations

import codecs
import contextlib
import http.client
import json
import os
import ssl
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import click

from ..core.config.address import Address, parse_address
from ..core.errors import BadRequest
from .connection import connection_to
from .infer_messages import (
    MODEL_INFER,
    STREAM_PREDICTIONS,
    infer_message,
    infer_path,
    predictions_message,
    read_message,
    read_request,
)
from .loadgen.rpc_answer import OK, RpcAnswer, prediction, whole
from .loadgen.rpc_request import rpc_request
from .rpc_connection import NoRpc, RpcConnection
from .target import parse_rpc_address

_KEY = "TS_INFERENCE_TOKEN"
_URLS = "http://HOST:PORT, https://HOST:PORT, grpc://HOST:PORT, grpcs://HOST:PORT and unix:/PATH"
_PIECE = 1 << 16  # bytes


class Failed(click.ClickException):
    """An error for one FILE that was not answered; the others are sent all the same."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A server and a model of it, and how they are asked. `headers` go with each request, as metadata by gRPC."""

    url: str
    model: str
    version: str | None
    oip: bool
    explain: bool
    headers: Mapping[str, str]
    timeout: float
    insecure: bool


# Sends a file's content, of this type, and yields the pieces of its answer.
Ask = Callable[[bytes, str], Iterator[bytes]]


def predict_remote(remote: Remote, files: Sequence[tuple[Path, str]], output: Path | None) -> bool:
    """Send each file, print or write its answer, and return whether all were answered. `files` have their types.

    Raises click.ClickException if the server can't be asked.
    """
    key = os.environ.get(_KEY)
    if key and "authorization" not in map(str.lower, remote.headers):
        remote = replace(remote, headers={**remote.headers, "Authorization": f"Bearer {key}"})
    all_answered = True
    with _asker(remote) as ask:
        for file, kind in files:
            try:
                _show(file, ask(file.read_bytes(), kind), output)
            except Failed as error:
                click.echo(f"{file}: {error.message}", err=True)
                all_answered = False
    return all_answered


@contextlib.contextmanager
def _asker(remote: Remote) -> Iterator[Ask]:
    rpc = remote.url.lower().startswith(("grpc://", "grpcs://"))
    try:
        address = parse_rpc_address(remote.url) if rpc else parse_address(remote.url, 8080)
    except ValueError:
        raise click.UsageError(f"--url: {remote.url} is none of {_URLS}") from None
    if rpc and remote.explain:
        raise click.UsageError("--explain is of the REST API: TorchServe's gRPC has no explanations")
    try:
        with _by_rpc(remote, address) if rpc else _by_http(remote, address) as ask:
            yield ask
    except ssl.SSLCertVerificationError as error:
        raise click.ClickException(f"{remote.url}: {error.verify_message} (--insecure takes any certificate)") from None
    except (ConnectionRefusedError, FileNotFoundError):
        what = "gRPC server" if rpc else "server"
        raise click.ClickException(
            f"No {what} answers at {remote.url}: start one with `torchserve --start`, or name its address with --url."
        ) from None
    except http.client.BadStatusLine:
        raise click.ClickException(f"{remote.url} speaks no HTTP/1.1 (gRPC is asked with grpc://)") from None
    except (OSError, http.client.HTTPException, NoRpc) as error:
        cause = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
        hint = " (is this its gRPC port? 7070 is TorchServe's)" if rpc and isinstance(error, NoRpc) else ""
        raise click.ClickException(f"{remote.url} can't be called: {cause}{hint}") from None


# ---- by REST


@contextlib.contextmanager
def _by_http(remote: Remote, address: Address) -> Iterator[Ask]:
    connection = connection_to(address, remote.timeout, verify=_verify(remote, address))
    what = "explanations" if remote.explain else "predictions"
    of = "" if remote.version is None else f"/{quote(remote.version, safe='')}"
    path = infer_path(remote.model, remote.version) if remote.oip else f"/{what}/{quote(remote.model, safe='')}{of}"

    def ask(data: bytes, kind: str) -> Iterator[bytes]:
        connection.request("POST", path, data, {"Content-Type": kind, **remote.headers})
        response = connection.getresponse()
        if response.status >= 300:
            raise Failed(f"{response.status} {response.reason}: {_text(response.read())}")
        while piece := response.read1(_PIECE):
            yield piece
        response.read()  # read1 leaves a response open that has ended

    with contextlib.closing(connection):
        yield ask


def _text(body: bytes) -> str:
    try:
        told = json.loads(body)
        return " ".join(str(told.get("message") or told["error"]).split())
    except (ValueError, LookupError, TypeError, AttributeError):
        return body[:200].decode("utf-8", "replace").strip() or "without a text"


# ---- by gRPC


@contextlib.contextmanager
def _by_rpc(remote: Remote, address: Address) -> Iterator[Ask]:
    target = MODEL_INFER if remote.oip else STREAM_PREDICTIONS
    with RpcConnection(address, remote.timeout, verify=_verify(remote, address)) as connection:

        def ask(data: bytes, _kind: str) -> Iterator[bytes]:
            if remote.oip:
                answer, message = RpcAnswer(whole, streams=False), _infer_message(remote, data)
            else:
                answer = RpcAnswer(prediction, streams=True)
                message = predictions_message(remote.model, remote.version, data)
            pieces = connection.pieces(rpc_request(address, target, remote.headers, message), answer)
            yield from map(_document, pieces) if remote.oip else pieces
            if answer.status != OK:
                raise Failed(answer.cause.partition("\n")[0])  # behind it is the name of a class of Java

        yield ask


def _document(message: bytes) -> bytes:
    try:
        return json.dumps(read_message(message)).encode()
    except ValueError as error:
        raise Failed(f"the answer is {error}") from None


def _infer_message(remote: Remote, document: bytes) -> bytes:
    try:
        return infer_message(remote.model, remote.version, read_request(document))
    except BadRequest as error:
        raise Failed(error.message) from None


def _verify(remote: Remote, address: Address) -> bool:
    return not (address.loopback or remote.insecure)


# ---- what comes of it


def _show(file: Path, pieces: Iterator[bytes], output: Path | None) -> None:
    """Print the pieces of an answer as they come, or write them to a file."""
    if output is not None:
        data = b"".join(pieces)
        path = output / f"{file.name}.out"
        path.write_bytes(data)
        click.echo(f"{path}: {len(data)} bytes", err=True)
        return
    text = _Text()
    for piece in pieces:
        if not text.goes_on(piece) and sys.stdout.isatty():
            click.echo(f"{file}: {len(piece)} bytes that are no text: --output FOLDER keeps them", err=True)
            continue
        sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    if text.lacks_newline:
        sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()


class _Text:
    """A check of whether the pieces of an answer are text, whose characters may be cut between two of them."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_text = True
        self._last = ""

    def goes_on(self, piece: bytes) -> bool:
        """Return whether all that came so far is text."""
        try:
            self._last = self._decoder.decode(piece) or self._last
            self._is_text = self._is_text and "\0" not in self._last
        except UnicodeDecodeError:
            self._is_text = False
        return self._is_text

    @property
    def lacks_newline(self) -> bool:
        """Return whether the text has no newline at its end."""
        return self._is_text and not self._last.endswith("\n")
