"""Fetching an archive from an allowed URL into the model store; blocking, so callers run it in a thread.

Every hop of a redirect is checked like the first URL, and the address that was checked is the one connected to.
"""

from __future__ import annotations

import errno
import http.client
import os
import secrets
import shutil
import socket
import ssl
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, TypeAlias
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from ..errors import ArchiveExists, ArchiveNotFound, DownloadFailed
from ..version import __version__
from .allowed_urls import AMBIGUOUS, AllowedUrls
from .download_progress import CountedFile, DownloadProgress
from .gcs import authorization, object_url, storage_only
from .limits import DownloadLimits
from .retrying import MayPass, asked_pause, cause_of, status_may_pass, try_again
from .s3 import copy_from_s3, signed_headers
from .store import LONGEST_URL

_CHUNK = 256 << 10
_REDIRECTS = (301, 302, 303, 307, 308)
_HeadersOf: TypeAlias = Callable[[SplitResult], dict[str, str]]
_FAILURES = (OSError, http.client.HTTPException, ValueError)


_running: set[_Download] = set()  # added to and removed from by the threads that download


def end_downloads() -> None:
    """End the downloads that are under way, by failing, so that their threads and files don't outlive a stop."""
    for download in list(_running):
        download.end("the server is stopping")


def file_name(url: str) -> str:
    """Return the name of the file that `url` is stored as: the last part of its path, as it is written there.

    `my%20model.mar` keeps its name, as in TorchServe: what was escaped is no separator and nothing else that a file's
    name must not have. Raises ArchiveNotFound if there is no name that is safe.
    """
    name = urlsplit(url).path.rpartition("/")[2]
    if not name or name.startswith(".") or AMBIGUOUS.search(name) or len(os.fsencode(name)) > 200:
        raise ArchiveNotFound(f"Model not found at: {url}")
    return name


def fetch(
    url: str,
    store: Path,
    allowed: AllowedUrls,
    limits: DownloadLimits | None = None,
    *,
    signed: bool = False,
    progress: DownloadProgress | None = None,
) -> Path:
    """Copy what `url` (http, https, file, s3 or gs) leads to into the store, and return the new file's path.

    With `signed`, requests carry the signature of the AWS account in the environment, as S3 expects. `progress` is
    updated as bytes come. A failure whose cause may pass is retried. Raises ArchiveNotFound (not permitted),
    ArchiveExists or DownloadFailed; no file is left behind then.
    """
    limits = limits or DownloadLimits()
    allowed.check(url, store)
    target = store / file_name(url)
    shown = url.partition("?")[0]  # the query may hold a signature, which must not be logged
    try:
        with _new_file(target) as file:
            out = CountedFile(file, progress or DownloadProgress(url))
            scheme = urlsplit(url).scheme
            if scheme == "file":
                _copy_local(Path(unquote(urlsplit(url).path)), out, limits)
            elif scheme == "s3":
                try_again(shown, lambda left: copy_from_s3(url, out, limits, left), out, limits, _FAILURES)
            elif scheme == "gs":
                place, permitted = object_url(url), storage_only()
                download = partial(_Download, store, permitted, limits, headers=lambda _: authorization())
                try_again(shown, lambda left: download().run(place, out, left), out, limits, _FAILURES)
            else:
                download = partial(_Download, store, allowed, limits, headers=_signature if signed else _no_headers)
                try_again(shown, lambda left: download().run(url, out, left), out, limits, _FAILURES)
    except _FAILURES as error:
        raise DownloadFailed(f"Failed to download archive from: {url} ({cause_of(error)})") from error
    return target


@contextmanager
def _new_file(target: Path) -> Iterator[IO[bytes]]:
    """Yield a hidden file, which becomes `target` at the end unless that exists by then; delete it on an exception."""
    if os.path.lexists(target):
        raise ArchiveExists(f"Model file already exists {target.name}")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
    try:
        with temporary.open("xb") as out:
            yield out
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise ArchiveExists(f"Model file already exists {target.name}") from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
                raise
            temporary.rename(target)  # a file system without hard links
    finally:
        temporary.unlink(missing_ok=True)


def _copy_local(path: Path, out: CountedFile, limits: DownloadLimits) -> None:
    # O_NONBLOCK: without it, open() would wait for the writer of a FIFO.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as source:
        status = os.fstat(source.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is no regular file")
        if status.st_size > limits.max_bytes:
            raise ValueError(f"it is larger than {limits.max_bytes} bytes")
        out.expect(status.st_size)
        shutil.copyfileobj(source, out, _CHUNK)


class _Download:
    """A download over HTTP, whose requests have what `headers` returns for their URL.

    A timer shuts the connection down at the total time limit, which no socket timeout enforces against a peer that
    sends a byte now and then.
    """

    def __init__(self, store: Path, allowed: AllowedUrls, limits: DownloadLimits, *, headers: _HeadersOf) -> None:
        self._store: Path = store
        self._allowed: AllowedUrls = allowed
        self._limits: DownloadLimits = limits
        self._headers: _HeadersOf = headers
        self._socket: socket.socket | None = None
        self._ended: str = ""  # why no further byte is taken

    def run(self, url: str, out: CountedFile, left: float) -> None:
        """Download `url` to `out` within `left` seconds."""
        timer = threading.Timer(left, self.end, [f"it took longer than {self._limits.total_timeout:g} s"])
        timer.daemon = True
        timer.start()
        _running.add(self)
        try:
            self._follow(url, out)
        except (OSError, http.client.HTTPException) as error:
            self._check_time(error)
            raise
        finally:
            _running.discard(self)
            timer.cancel()
        self._check_time(None)

    def _follow(self, url: str, out: CountedFile) -> None:
        first = urlsplit(url)
        for _ in range(self._limits.redirects + 1):
            if len(url) > LONGEST_URL:
                raise ValueError(f"a redirect to a URL of {len(url)} characters")
            self._allowed.check(url, self._store)
            parts = urlsplit(url)
            # A signature must reach only the host it was made for; S3 itself redirects to other names of its own.
            own = parts.netloc == first.netloc or (_of_amazon(parts) and _of_amazon(first))
            extra = self._headers(parts) if own else {}
            with self._connect(parts) as sock, closing(_request(sock, parts, extra)) as response:
                if response.status not in _REDIRECTS:
                    self._receive(response, out)
                    return
                location = response.getheader("Location")
            if not location:
                raise ValueError("a redirect without a target")
            url = urljoin(url, location)
            if urlsplit(url).scheme not in ("http", "https"):
                raise ArchiveNotFound(f"Given URL {url} does not match any allowed URL(s)")
        raise ValueError(f"more than {self._limits.redirects} redirects")

    def _connect(self, parts: SplitResult) -> socket.socket:
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
        sock = self._connect_any(self._allowed.resolve(host, port), port)
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self._socket = sock = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
            try:
                sock.do_handshake()
            except BaseException:
                sock.close()
                raise
        return sock

    def _connect_any(self, addresses: list[str], port: int) -> socket.socket:
        error: OSError = OSError("the host has no address")
        for address in addresses:
            self._check_time(None)
            try:
                sock = socket.create_connection((address, port), timeout=self._limits.idle_timeout)
            except OSError as failure:
                error = failure
            else:
                self._socket = sock
                if self._ended:  # before there was a socket to shut down
                    sock.close()
                    self._check_time(None)
                return sock
        raise error

    def _receive(self, response: http.client.HTTPResponse, out: CountedFile) -> None:
        if response.status != http.client.OK:
            message = f"the server answered {response.status} {response.reason}"
            if status_may_pass(response.status):
                raise MayPass(message, asked_pause(response.getheader("Retry-After")))
            raise ValueError(message)
        maximum = self._limits.max_bytes
        expected = response.length
        received = 0
        if expected is not None and expected > maximum:
            raise ValueError(f"it has {expected} bytes, and at most {maximum} are accepted")
        out.expect(expected)
        while data := response.read1(_CHUNK):
            received += len(data)
            if received > maximum:
                raise ValueError(f"it is larger than {maximum} bytes")
            out.write(data)
        if expected is not None and received != expected:
            raise MayPass(f"the connection was cut after {received} of {expected} bytes")

    def end(self, why: str) -> None:
        """Take no further byte. May be called from any thread."""
        self._ended = why
        if self._socket is not None:
            # Not SSLSocket.shutdown: it would discard the TLS session while another thread reads by it.
            with suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _check_time(self, error: Exception | None) -> None:
        if self._ended:
            raise ValueError(self._ended) from error


def _signature(parts: SplitResult) -> dict[str, str]:
    return signed_headers(_as_sent(parts))


def _no_headers(_parts: SplitResult) -> dict[str, str]:
    return {}


def _of_amazon(parts: SplitResult) -> bool:
    return parts.scheme == "https" and (parts.hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn"))


def _as_sent(parts: SplitResult) -> SplitResult:
    """Return the URL as it is sent: escaped, without a fragment."""
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    return parts._replace(path=path, query=quote(parts.query, safe="/%:@!$&'()*+,;=~-._?"), fragment="")


def _request(sock: socket.socket, parts: SplitResult, extra: dict[str, str]) -> http.client.HTTPResponse:
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port)
    connection.sock = sock
    sent = _as_sent(parts)
    headers = {"User-Agent": f"torchserve/{__version__}", "Accept-Encoding": "identity", "Connection": "close"}
    connection.request("GET", sent.path + ("?" + sent.query if sent.query else ""), headers=headers | extra)
    return connection.getresponse()
