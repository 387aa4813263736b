"""Downloads that fail for a cause that may pass are tried again; those of any other cause are not."""

from __future__ import annotations

import errno
import http.client
import io
import logging
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from torchserve.core.archive.download_progress import CountedFile, DownloadProgress
from torchserve.core.archive.limits import DownloadLimits
from torchserve.core.archive.retrying import MayPass, asked_pause, try_again
from torchserve.core.errors import DownloadFailed

from .finding import locate
from .web import Answer, Handler, Server

CAUSES = (OSError, http.client.HTTPException, ValueError)


def in_turn(*answers: Answer) -> Answer:
    """Each answer once, and the last one for ever."""
    left = list(answers)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


def status(code: int, **headers: str) -> Answer:
    return lambda handler: handler.send(code, b"sorry", **headers)


def whole(handler: Handler) -> None:
    handler.send(200, b"archive")


def torn(handler: Handler) -> None:
    handler.send(200, b"more than the archive has", Content_Length="1000")


def torn_chunks(handler: Handler) -> None:
    handler.protocol_version = "HTTP/1.1"
    handler.send(200, b"100\r\nhalf", Content_Length="", Transfer_Encoding="chunked", Connection="close")
    handler.close_connection = True


def nothing(handler: Handler) -> None:
    """The connection ends without an answer."""


@pytest.mark.parametrize(
    "failure", [status(500), status(502), status(503), status(429), status(408), torn, torn_chunks, nothing]
)
def test_what_passes_is_waited_for(
    failure: Answer, server: Server, store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer = in_turn(failure, failure, whole)
    with caplog.at_level(logging.WARNING):
        located = locate(server.url("x.mar?signature=secret"), store, server.allowed)
    assert located.path.read_bytes() == b"archive"
    assert len(server.hits) == 3
    said = [record.getMessage() for record in caplog.records]
    assert [line[-30:] for line in said] == [
        "; attempt 2 of 3 follows in 0 s"[-30:],
        "; attempt 3 of 3 follows in 0 s"[-30:],
    ]
    assert all(line.startswith(f"The download of {server.url('x.mar')} failed (") for line in said)


@pytest.mark.parametrize(
    ("answer", "hits", "cause"),
    [
        (status(503), 3, "the server answered 503 Service Unavailable; tried 3 times"),
        (torn, 3, "the connection was cut after 25 of 1000 bytes; tried 3 times"),
        (in_turn(status(500), status(404)), 2, "the server answered 404 Not Found; tried 2 times"),
        (status(404), 1, "the server answered 404 Not Found"),
        (status(403), 1, "the server answered 403 Forbidden"),
        (status(501), 1, "the server answered 501 Not Implemented"),
        (status(302), 1, "a redirect without a target"),
    ],
)
def test_how_often_a_download_is_tried(answer: Answer, hits: int, cause: str, server: Server, store: Path) -> None:
    server.answer = answer
    with pytest.raises(DownloadFailed) as caught:
        locate(server.url(), store, server.allowed)
    assert caught.value.message == f"Failed to download archive from: {server.url()} ({cause})"
    assert len(server.hits) == hits
    assert list(store.iterdir()) == []


def test_a_server_that_is_not_up_yet(store: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(socket.socket()) as bound, caplog.at_level(logging.WARNING):
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/x.mar"
        with pytest.raises(DownloadFailed, match="Connection refused; tried 3 times"):
            locate(url, store, [".*"])
    assert len(caplog.records) == 2


def test_what_was_received_before_is_not_counted(server: Server, store: Path) -> None:
    progress = DownloadProgress("u")
    out = CountedFile(io.BytesIO(), progress)
    out.expect(10)
    out.write(b"half")
    out.begin_again()
    assert (progress.count, progress.total) == (0, None)


@pytest.mark.parametrize(
    ("error", "attempts"),
    [
        (ConnectionResetError(errno.ECONNRESET, "reset"), 3),
        (TimeoutError("timed out"), 3),
        (OSError(errno.EHOSTUNREACH, "no route"), 3),
        (socket.gaierror(socket.EAI_AGAIN, "try again"), 3),
        (http.client.RemoteDisconnected("gone"), 3),
        (http.client.IncompleteRead(b""), 3),
        (ssl.SSLEOFError(8, "EOF"), 3),
        (MayPass("busy"), 3),
        (OSError(errno.ENOSPC, "disk full"), 1),
        (PermissionError(errno.EACCES, "denied"), 1),
        (socket.gaierror(socket.EAI_NONAME, "no such host"), 1),
        (ssl.SSLCertVerificationError(1, "self-signed"), 1),
        (http.client.BadStatusLine("SSH"), 1),
        (ValueError("too large"), 1),
    ],
)
def test_which_causes_may_pass(error: Exception, attempts: int) -> None:
    tried, left = failing(error)
    with pytest.raises(type(error)):
        try_again("u", tried, receiving(), DownloadLimits(pause=0.0), CAUSES)
    assert len(left) == attempts
    assert left == sorted(left, reverse=True), "all attempts share one time limit"
    assert left[0] <= 3600


@pytest.mark.parametrize(
    ("limits", "after", "attempts"),
    [
        (DownloadLimits(total_timeout=5.0, pause=5.0), 0.0, 1),
        (DownloadLimits(total_timeout=5.0, pause=0.0), 5.0, 1),
        (DownloadLimits(attempts=1), 0.0, 1),
        (DownloadLimits(attempts=5, pause=0.0), 0.0, 5),
    ],
)
def test_no_pause_goes_beyond_the_time_limit(limits: DownloadLimits, after: float, attempts: int) -> None:
    tried, left = failing(MayPass("busy", after))
    with pytest.raises(MayPass):
        try_again("u", tried, receiving(), limits, CAUSES)
    assert len(left) == attempts


@pytest.mark.parametrize(
    ("header", "seconds"), [(None, 0), ("", 0), ("7", 7), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("-1", 0), ("²", 0)]
)
def test_what_retry_after_says(header: str | None, seconds: float) -> None:
    assert asked_pause(header) == seconds


def failing(error: Exception) -> tuple[Callable[[float], None], list[float]]:
    """An attempt that raises `error`, and a list of the seconds that it was given each time."""
    left: list[float] = []

    def attempt(seconds: float) -> None:
        left.append(seconds)
        raise error

    return attempt, left


def receiving() -> CountedFile:
    return CountedFile(io.BytesIO(), DownloadProgress("u"))
