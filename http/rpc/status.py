"""The table of each error's gRPC status, beside the HTTP ones of message/errors.py, and the trailers of an answer."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal, NamedTuple, TypeAlias

from ...core.errors import (
    AlreadyRegistered,
    ArchiveExists,
    ClientLimited,
    DefaultVersionInUse,
    HandlerFailed,
    InvalidKey,
    Kind,
    NotInTime,
    Overloaded,
    QueueFull,
    RegionExists,
    ServeError,
    VersionInTraffic,
)
from ..message.errors import incident, oip_text, row
from ..transport.http2.frames import AnswerFrames
from ..transport.http2.header_block import encode_block


class Code(IntEnum):
    """The codes of gRPC."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class RpcFailure(Exception):
    """The end of a call with a status that no ServeError stands for: it is about gRPC itself."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class RefusedMessage(RpcFailure):
    """An RpcFailure that is about one message of several: the call goes on if it can tell the client in a message."""


class Status(NamedTuple):
    """The status that a call ends with, and the seconds after which the same call may succeed, if that is known."""

    code: Code
    message: str = ""
    retry_after: float | None = None


OK = Status(Code.OK)

# Whose clients read the text of an error.
Words: TypeAlias = Literal["java", "torchserve", "oip"]

# An error without a row takes the row of its nearest base that has one, else that of its kind in KINDS.
_ROWS: dict[type[ServeError], Code] = {
    AlreadyRegistered: Code.ALREADY_EXISTS,
    RegionExists: Code.ALREADY_EXISTS,
    ArchiveExists: Code.INTERNAL,  # as in TorchServe, and the 500 of the REST API
    DefaultVersionInUse: Code.FAILED_PRECONDITION,
    VersionInTraffic: Code.FAILED_PRECONDITION,
    InvalidKey: Code.PERMISSION_DENIED,
    ClientLimited: Code.RESOURCE_EXHAUSTED,
    QueueFull: Code.RESOURCE_EXHAUSTED,
    NotInTime: Code.DEADLINE_EXCEEDED,
}

KINDS: dict[Kind, Code] = {
    "not_found": Code.NOT_FOUND,
    "invalid": Code.INVALID_ARGUMENT,
    "conflict": Code.ABORTED,
    "denied": Code.PERMISSION_DENIED,
    "too_large": Code.RESOURCE_EXHAUSTED,
    "overloaded": Code.UNAVAILABLE,
    "expired": Code.DEADLINE_EXCEEDED,
    "broken": Code.INTERNAL,
}

# The HTTP status that a handler's PredictionException names -> TorchServe's code for it.
_OF_HTTP = {
    400: Code.INVALID_ARGUMENT, 401: Code.UNAUTHENTICATED, 403: Code.PERMISSION_DENIED, 404: Code.NOT_FOUND,
    409: Code.ABORTED, 413: Code.RESOURCE_EXHAUSTED, 416: Code.OUT_OF_RANGE, 429: Code.RESOURCE_EXHAUSTED,
    499: Code.CANCELLED, 501: Code.UNIMPLEMENTED, 503: Code.UNAVAILABLE, 504: Code.DEADLINE_EXCEEDED,
}  # fmt: skip

# The HTTP status that an answer with a code is counted under, of those that are no 500.
_COUNTED = {
    Code.OK: 200, Code.CANCELLED: 499, Code.INVALID_ARGUMENT: 400, Code.DEADLINE_EXCEEDED: 504, Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409, Code.PERMISSION_DENIED: 403, Code.RESOURCE_EXHAUSTED: 429, Code.ABORTED: 409,
    Code.FAILED_PRECONDITION: 400, Code.OUT_OF_RANGE: 400, Code.UNIMPLEMENTED: 501, Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}  # fmt: skip

# By plain numbers: to look up a Code calls Python code for its hash.
counted_as = {int(code): _COUNTED.get(code, 500) for code in Code}.__getitem__
"""Return the HTTP status under which an answer with this code is counted."""

# TorchServe's clients find the name of a Java class in the last line of an error's text, which some look at.
_JAVA_PACKAGES = {
    "ModelNotFoundException": "org.pytorch.serve.archive.model",
    "ModelVersionNotFoundException": "org.pytorch.serve.archive.model",
    "InvalidModelException": "org.pytorch.serve.archive.model",
    "InvalidModelVersionException": "org.pytorch.serve.archive.model",
    "DownloadArchiveException": "org.pytorch.serve.archive",
    "BadRequestException": "org.pytorch.serve.http",
    "ConflictStatusException": "org.pytorch.serve.http",
    "InternalServerException": "org.pytorch.serve.http",
    "ServiceUnavailableException": "org.pytorch.serve.http",
}
_LONGEST = 4096  # bytes of grpc-message: clients refuse more than 8 KiB of trailers
_PLAIN = frozenset(range(0x20, 0x7F)) - {ord("%")}


def status_of(error: BaseException, words: Words = "java") -> Status:
    """Return the status of a call that failed with `error`.

    Its text is TorchServe's in the `words` "torchserve", and in "java", where TorchServe's class of the error ends it.
    An error that is no ServeError is logged, and the client is not told its text.
    """
    if isinstance(error, RpcFailure):
        return Status(error.code, error.message)
    if not isinstance(error, ServeError):
        return Status(Code.INTERNAL, incident(error))
    _, name = row(error)
    package = _JAVA_PACKAGES.get(name)
    message = f"{error.message}\n{package}.{name}" if package and words == "java" else error.message
    if words == "oip":
        message = oip_text(error) or message
    return Status(code_of(error), message, error.retry_after if isinstance(error, Overloaded) else None)


def code_of(error: ServeError) -> Code:
    """Return the code of an error of ours."""
    if isinstance(error, HandlerFailed):
        if error.status in _OF_HTTP:
            return _OF_HTTP[error.status]
        return Code.FAILED_PRECONDITION if 400 <= error.status < 500 else Code.INTERNAL
    for base in type(error).__mro__:
        found = _ROWS.get(base)
        if found is not None:
            return found
    return KINDS[error.kind]


def trailers_of(status: Status) -> list[tuple[str, str]]:
    """Return the fields that end an answer."""
    fields = [("grpc-status", str(int(status.code)))]
    if status.message:
        fields.append(("grpc-message", _percent(status.message)))
    if status.retry_after is not None:
        fields.append(("grpc-retry-pushback-ms", str(max(1, round(status.retry_after * 1000)))))
    return fields


def _percent(message: str) -> str:
    """Return a text as gRPC spells it in a header: percent-encoded UTF-8, cut to what clients accept."""
    made: list[str] = []
    left = _LONGEST
    for character in message:
        spelt = "".join(
            chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in character.encode("utf-8", "replace")
        )
        left -= len(spelt)
        if left < 0:
            made.append("...")
            break
        made.append(spelt)
    return "".join(made)


CONTENT = ("content-type", "application/grpc")
# What every answer that succeeds begins and ends with.
HEADERS_BLOCK = encode_block([(":status", "200"), CONTENT])
OK_BLOCK = encode_block(trailers_of(OK))
ANSWER = AnswerFrames(HEADERS_BLOCK, OK_BLOCK)
