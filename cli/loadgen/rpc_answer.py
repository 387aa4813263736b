"""RpcAnswer: the answer to one gRPC call, put together from the frames of its stream. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import unquote

from .response import BadResponse

OK = 0
UNKNOWN = 2
_PREFIX = 5  # bytes before a message: whether it is compressed, and its length
_NAMES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


def code_name(code: int) -> str:
    """Return the name of a code of gRPC."""
    return _NAMES[code] if 0 <= code < len(_NAMES) else f"code {code}"


def whole(message: bytes) -> bytes:
    """Return the message as it is."""
    return message


def prediction(message: bytes) -> bytes:
    """Return the prediction in a PredictionResponse of TorchServe. Raises BadResponse."""
    at, size, found = 0, len(message), b""
    while at < size:
        tag = message[at]
        length, at = _varint(message, at + 1)
        if tag & 7 == 2:
            if at + length > size:
                raise BadResponse("a field of the PredictionResponse is cut off")
            if tag == 0x0A:
                found = message[at : at + length]
            at += length
        elif tag & 7:
            raise BadResponse(f"a PredictionResponse has no field with the tag {tag}")
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise BadResponse("a number in the PredictionResponse is cut off")


class RpcAnswer:
    """An answer, as Response is one of HTTP/1.1.

    `status` is the code of gRPC, `messages` what `unwrap` has found in each message so far, and `body` all of them, one
    behind the other, once the answer has ended. `chunks` counts the messages of a streamed answer so far, and is 0 of
    any other.
    """

    __slots__ = ("_data", "_headed", "_streams", "_unwrap", "body", "chunks", "messages", "status", "text")

    def __init__(self, unwrap: Callable[[bytes], bytes], *, streams: bool) -> None:
        self._unwrap = unwrap
        self._streams = streams
        self.reset()

    def reset(self) -> None:
        """Prepare for the answer to the next call."""
        self.status = UNKNOWN
        self.text = ""
        self.body = b""
        self.chunks = 0
        self._data = b""
        self.messages: list[bytes] = []
        self._headed = False

    @property
    def cause(self) -> str:
        """Return the status in words, for a call that failed."""
        return f"{self.status} {code_name(self.status)}{f': {self.text[:200]}' if self.text else ''}"

    def headers_came(self, fields: Mapping[str, str]) -> None:
        """Take the head or the trailers. Raises BadResponse for an answer that is not of gRPC."""
        if not self._headed:
            self._headed = True
            kind = fields.get("content-type", "")
            if fields.get(":status") != "200" or not kind.startswith("application/grpc"):
                raise BadResponse(f"no answer of gRPC: status {fields.get(':status')}, content type {kind!r}")
        code = fields.get("grpc-status")
        if code is not None:
            self.status = int(code) if code.isdigit() else UNKNOWN
            self.text = unquote(fields.get("grpc-message", "")) if self.status else ""

    def data_came(self, data: bytes) -> None:
        """Take the next bytes of the answer's messages. Raises BadResponse."""
        data = self._data + data if self._data else data
        at, size = 0, len(data)
        while size - at >= _PREFIX:
            if data[at]:
                raise BadResponse("a message is compressed, which was not asked for")
            end = at + _PREFIX + int.from_bytes(data[at + 1 : at + _PREFIX])
            if end > size:
                break
            self.messages.append(self._unwrap(data[at + _PREFIX : end]))
            self.chunks += self._streams
            at = end
        self._data = data[at:] if at else data

    def end(self) -> None:
        """Note that the stream has ended. Raises BadResponse for an answer that can't be."""
        messages = self.messages
        if self.status == OK:
            if self._data:
                raise BadResponse("the answer ends within a message")
            if len(messages) != 1 and not self._streams:
                raise BadResponse(f"the answer has {len(messages)} messages")
        self.body = messages[0] if len(messages) == 1 else b"".join(messages)
