"""try_again(): retries a download while the cause of its failure may pass, and decides how long to wait."""

from __future__ import annotations

import errno
import http.client
import logging
import socket
import ssl
import time
from collections.abc import Callable

from .download_progress import CountedFile
from .limits import DownloadLimits

log = logging.getLogger(__name__)

_STEP = 4.0  # each pause is this many times as long as the one before
_LONGEST = 30.0  # seconds; the longest pause, also if a server asks for more by Retry-After
_UNREACHABLE = frozenset(
    (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.ETIMEDOUT, errno.ENETRESET)
)
_UNSUPPORTED = frozenset((501, 505))  # the statuses from 500 on that a retry does not change


class MayPass(ValueError):
    """A failure of a download whose cause may pass. `after` is the seconds that the server asked to wait."""

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


def status_may_pass(status: int) -> bool:
    """Return whether a request answered with this HTTP status may soon succeed: a timeout, a rate limit, a server's
    error.
    """
    return status in {408, 429} or (status >= 500 and status not in _UNSUPPORTED)


def asked_pause(retry_after: str | None) -> float:
    """Return the seconds of a Retry-After header; 0 if there is none, or a date."""
    return float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else 0.0


def try_again(
    source: str,
    attempt: Callable[[float], None],
    out: CountedFile,
    limits: DownloadLimits,
    causes: tuple[type[Exception], ...],
) -> None:
    """Call `attempt` with the seconds it may take, up to `limits.attempts` times while what it raises may pass.

    All attempts and pauses together take at most `limits.total_timeout`. `source` names the download in the log;
    `causes` are the exceptions that are judged, others are raised at once.
    """
    end = time.monotonic() + limits.total_timeout
    for number in range(1, limits.attempts + 1):
        try:
            attempt(end - time.monotonic())
        except causes as error:
            pause = _pause(error, number, limits)
            if number == limits.attempts or not _may_pass(error) or time.monotonic() + pause >= end:
                if number > 1:
                    error.add_note(f"tried {number} times")
                raise
            log.warning(
                "The download of %s failed (%s); attempt %d of %d follows in %g s",
                source, cause_of(error), number + 1, limits.attempts, pause,
            )  # fmt: skip
            time.sleep(pause)
            out.begin_again()
        else:
            return


def cause_of(error: BaseException) -> str:
    """Return what failed, in a few words, and how often it was tried."""
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return "; ".join((text, *getattr(error, "__notes__", ())))


def _pause(error: BaseException, number: int, limits: DownloadLimits) -> float:
    asked = error.after if isinstance(error, MayPass) else 0.0
    return min(_LONGEST, max(asked, limits.pause * _STEP ** (number - 1)))


def _may_pass(error: BaseException) -> bool:
    """Return whether the network or the other side failed, rather than our disk, a certificate or the URL."""
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_AGAIN
    if isinstance(error, ssl.SSLError):
        return isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, TimeoutError))
    if isinstance(error, (MayPass, ConnectionError, TimeoutError, http.client.IncompleteRead)):
        return True
    return isinstance(error, OSError) and error.errno in _UNREACHABLE
