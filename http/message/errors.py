"""The table of each error's HTTP status and TorchServe's name for it, and the JSON answer to an error.

reply.py writes an answer as HTTP.
"""

from __future__ import annotations

import logging
import math
import secrets
from typing import Any

import orjson
from msgspec.structs import replace

from ...core.errors import (
    AlreadyRegistered,
    ArchiveExists,
    ArchiveNotFound,
    BadRequest,
    ClientLimited,
    Conflict,
    DefaultVersionInUse,
    DownloadFailed,
    ForeignSite,
    GenerationExpired,
    HandlerFailed,
    InvalidArchive,
    InvalidGraph,
    InvalidKey,
    InvalidWorkflow,
    Kind,
    ModelNotFound,
    Overloaded,
    PackagesFailed,
    RequestExpired,
    RouteNotFound,
    ServeError,
    SharedMemoryDenied,
    VersionNotFound,
    WorkerDied,
    WorkersFailed,
    WorkflowFailed,
    WorkflowNotFound,
)
from ...core.payload import Reply
from .reply import json_reply
from .request import BrokenEncoding

log = logging.getLogger(__name__)

_INTERNAL = "InternalServerException"
_CHALLENGE = (("WWW-Authenticate", "Bearer"),)
_WEBSOCKET = (("Sec-WebSocket-Version", "13"),)


class Challenged(InvalidKey):
    """An InvalidKey that is answered with 401, HTTP's own status for it: for servers with token_error_status=401."""


class UnsupportedMedia(BadRequest):
    """An error for a request in a format that is not served where it came."""


class UnsupportedWebSocket(BadRequest):
    """An error for a handshake of another version of the WebSocket protocol than RFC 6455's."""

    def __init__(self) -> None:
        super().__init__("Sec-WebSocket-Version must be 13.")


# An error without a row takes the row of its nearest base that has one, else that of its kind in KINDS.
_ROWS: dict[type[ServeError], tuple[int, str]] = {
    ModelNotFound: (404, "ModelNotFoundException"),
    ArchiveNotFound: (404, "ModelNotFoundException"),
    VersionNotFound: (404, "ModelVersionNotFoundException"),
    WorkflowNotFound: (404, "WorkflowNotFoundException"),
    RouteNotFound: (404, "ResourceNotFoundException"),
    BadRequest: (400, "BadRequestException"),
    UnsupportedMedia: (415, "UnsupportedMediaTypeException"),
    UnsupportedWebSocket: (426, "UpgradeRequiredException"),
    InvalidKey: (400, "InvalidKeyException"),
    Challenged: (401, "InvalidKeyException"),
    ForeignSite: (403, "ForbiddenException"),
    SharedMemoryDenied: (403, "ForbiddenException"),
    BrokenEncoding: (403, "IllegalArgumentException"),
    InvalidArchive: (400, "InvalidModelException"),
    InvalidWorkflow: (400, "InvalidWorkflowException"),
    InvalidGraph: (400, "InvalidDAGException"),
    PackagesFailed: (400, "ModelException"),
    DownloadFailed: (400, "DownloadArchiveException"),
    AlreadyRegistered: (409, "ConflictStatusException"),
    ArchiveExists: (500, _INTERNAL),
    DefaultVersionInUse: (403, "InvalidModelVersionException"),
    Conflict: (409, "ConflictStatusException"),
    WorkflowFailed: (500, "WorkflowException"),
    ClientLimited: (429, "TooManyRequestsException"),
    RequestExpired: (504, "RequestTimeoutException"),
    GenerationExpired: (504, "RequestTimeoutException"),
}

KINDS: dict[Kind, tuple[int, str]] = {
    "not_found": (404, "ResourceNotFoundException"),
    "invalid": (400, "BadRequestException"),
    "conflict": (409, "ConflictStatusException"),
    "denied": (405, "MethodNotAllowedException"),
    "too_large": (413, "RequestEntityTooLargeException"),
    "overloaded": (503, "ServiceUnavailableException"),
    "expired": (408, "RequestTimeoutException"),
    "broken": (500, _INTERNAL),
}


class InvalidMessage(BadRequest):
    """An error for bytes that are not HTTP. The text names no cause, as that would send an attacker's bytes back."""

    def __init__(self) -> None:
        super().__init__("Invalid HTTP message.")


def row(error: ServeError) -> tuple[int, str]:
    """Return the HTTP status of an error and TorchServe's name for its type."""
    if isinstance(error, HandlerFailed):
        return (error.status if 200 <= error.status <= 599 else 500), _INTERNAL
    if isinstance(error, (WorkerDied, WorkersFailed)):
        return (507 if error.out_of_memory else 500), _INTERNAL
    for base in type(error).__mro__:
        found = _ROWS.get(base)
        if found is not None:
            return found
    return KINDS[error.kind]


def incident(error: BaseException) -> str:
    """Log an error that is no ServeError, and return the text for the client, which names the entry in the log."""
    number = secrets.token_hex(4)
    log.error("incident %s: unexpected error while answering a request", number, exc_info=error)
    return f"Internal server error. The server's log has the details under incident {number}."


def error_reply(error: BaseException) -> Reply:
    """Return the answer to a request that failed with `error`.

    An error that is no ServeError is logged, and the client is not told its text.
    """
    if not isinstance(error, ServeError):
        return _reply(500, _INTERNAL, incident(error))
    status, name = row(error)
    if status == 200:  # a handler raised PredictionException(code=200): TorchServe answers with these bytes
        return Reply(body=b"error", status=status)
    reply = _reply(status, name, error.message)
    if isinstance(error, Challenged):
        return replace(reply, headers=_CHALLENGE)
    if isinstance(error, UnsupportedWebSocket):
        return replace(reply, headers=_WEBSOCKET)
    if isinstance(error, Overloaded) and error.retry_after is not None:  # HTTP has whole seconds only
        return replace(reply, headers=(("Retry-After", str(max(1, math.ceil(error.retry_after)))),))
    return reply


def oip_text(error: BaseException) -> str:
    """Return an error's text where Triton's clients look for words of its own, "" where they don't."""
    if isinstance(error, VersionNotFound):
        return f"Request for unknown model: '{error.model}' version {error.version} is not found"
    return f"Request for unknown model: '{error.model}' is not found" if isinstance(error, ModelNotFound) else ""


def oip_error(error: BaseException, *, shared: bool = False) -> Reply:
    """Return the answer to a failed request as this protocol has it, with TorchServe's keys beside it if `shared`."""
    reply = error_reply(error)
    if reply.content_type is None:
        return reply
    told: dict[str, Any] = orjson.loads(reply.body)
    told = (told if shared else {}) | {"error": oip_text(error) or told["message"]}
    return replace(reply, body=orjson.dumps(told, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def _reply(status: int, name: str, message: str) -> Reply:
    return json_reply({"code": status, "type": name, "message": message}, status)
