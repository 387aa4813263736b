"""TorchServe's messages for predictions, PredictionsRequest and PredictionResponse, read and written without copies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from uuid import uuid4

from ...core.errors import BadRequest
from ...core.payload import Body, Part, Payload, Reply
from ..message.ids import fresh_id
from ..message.sequence_headers import SequenceHeaders
from .codec import Asked, Steps
from .infer_heads import Known
from .method import OpenCall
from .status import Code, RefusedMessage, RpcFailure, Status, Words
from .wire import BYTES, BadMessage, bytes_field, head_of, split, text, varint, varint_at, view

_FIELDS = 64  # of a message, beside its inputs
_MODEL, _VERSION, _INPUT, _NAME, _VALUE = 0x0A, 0x12, 0x1A, 0x0A, 0x12  # tags, the last two of an input
_SHORT = 0x7F  # bytes: a length that is one byte
_PEEK = 2048  # bytes of a message's beginning in which its model is looked for


class _Request(NamedTuple):
    model: str
    version: str
    parts: tuple[Part, ...]
    sequence: str


class _Beginning(NamedTuple):
    """The beginning of a message with one input: all of it but the input's value, and what it says. A message of as
    many bytes that begins with it says the same.
    """

    bytes: bytes
    model: str
    version: str | None
    name: str


def named_model(beginning: memoryview) -> tuple[str, str | None] | None:
    """Return the texts of the fields 1 and 2 that a message begins with, None without the first."""
    found = {1: "", 2: ""}
    at, end = 0, min(len(beginning), _PEEK)
    while at + 1 < end and beginning[at] in {0x0A, 0x12}:
        size = beginning[at + 1]
        if size > 0x7F or at + 2 + size > end:
            break
        found[beginning[at] >> 3] = str(beginning[at + 2 : at + 2 + size], "utf-8", "replace")
        at += 2 + size
    return (found[1], found[2] or None) if found[1] else None


class TorchServeMessages:
    """The codec of Predictions and StreamPredictions."""

    words: Words = "torchserve"

    def __init__(self, headers: SequenceHeaders) -> None:
        self._headers = headers
        self._beginnings: Known[_Beginning] = Known()

    def locate(self, beginning: memoryview) -> tuple[str, str | None] | None:
        """Return the model and version, which come first in what every library writes."""
        return named_model(beginning)

    def tensor_at(self, beginning: memoryview) -> int:
        """Return 0: an input is bytes."""
        return 0

    def decode(self, call: OpenCall, data: Body) -> Asked:
        """Return what a message asks for. Raises BadRequest."""
        message = data if isinstance(data, memoryview) else view(data)
        known = self._beginnings.get(len(message))
        if known is not None:
            begin = len(known.bytes)
            if message[:begin].tobytes() == known.bytes:
                head = call.head
                parts = (Part(known.name, "", message[begin:]),)
                return Asked(
                    known.model, known.version, Payload(call.id, parts, head.metadata, head.timeout, head.priority)
                )
        read = _one_input(message)
        if read is None:
            return self._asked(call, _any_inputs(message, call.context.limits.max_parts), call.id)
        (part,) = read.parts
        before = bytes(message[: len(message) - len(part.body)])
        known = _Beginning(before, read.model, read.version or None, part.name)
        self._beginnings.put(len(message), known, len(before))
        return self._asked(call, read, call.id)

    def _asked(self, call: OpenCall, read: _Request, request_id: str) -> Asked:
        head = call.head
        headers = {**head.metadata, self._headers.id: read.sequence} if read.sequence else head.metadata
        payload = Payload(request_id, read.parts, headers, head.timeout, head.priority)
        return Asked(read.model, read.version or None, payload, read.sequence)

    def check(self, asked: Asked) -> Steps | None:
        """Return None: all is checked."""
        return None

    def encode(self, reply: Reply, asked: Asked, *, last: bool = True) -> tuple[Body, ...]:
        """Return a PredictionResponse. It names the sequence, of a request that belongs to one."""
        body = reply.body
        buffers: tuple[Body, ...] = (head_of(1, len(body)), body) if len(body) else ()
        return (*buffers, bytes_field(2, asked.id.encode())) if asked.id else buffers

    def error(self, status: Status, asked: Asked | None) -> tuple[Body, ...]:
        """Return a PredictionResponse with a google.rpc.Status."""
        inner = b"\x08" + varint(int(status.code)) + bytes_field(2, status.message.encode("utf-8", "replace"))
        named = bytes_field(2, asked.id.encode()) if asked is not None and asked.id else b""
        return (named + bytes_field(3, inner),)


class SequenceMessages(TorchServeMessages):
    """The codec of StreamPredictions2, whose requests belong to sequences of stateful models.

    A request names its sequence or, where the call's metadata say that one begins with it, gets a new one, which its
    answer names.
    """

    def decode(self, call: OpenCall, data: Body) -> Asked:
        """Return what a message asks for. Raises BadRequest, RefusedMessage, ModelNotFound, and RpcFailure."""
        read = _read(view(data), call.context.limits.max_parts)
        model = read.model or call.context.only_model()
        if not call.context.dataplane.stateful(model, read.version or None):
            raise RpcFailure(
                Code.FAILED_PRECONDITION,
                f"Model {model} is not stateful: StreamPredictions2 takes requests to models with sequenceBatching."
                " Call Predictions or StreamPredictions.",
            )
        if read.sequence:
            return self._asked(call, read, fresh_id())
        if not _says_true(call.head.metadata, self._headers.start):
            raise RefusedMessage(Code.INTERNAL, "Parameter sequenceId is required.")
        begun = _Request(model, read.version, read.parts, f"ts-seq-{uuid4()}")
        return self._asked(call, begun, fresh_id())


def _says_true(metadata: Mapping[str, str], name: str) -> bool:
    wanted = name.lower().replace("-", "_")
    return any(key.replace("-", "_") == wanted and value.lower() == "true" for key, value in metadata.items())


def _read(data: memoryview, most_parts: int) -> _Request:
    """Return the fields of a PredictionsRequest, which has at most `most_parts` inputs. Raises BadRequest."""
    return _one_input(data) or _any_inputs(data, most_parts)


def _one_input(data: memoryview) -> _Request | None:
    """Return the fields of a message as libraries write it that has one input and no sequence; None of any other.

    Most messages are such, and take a fourth of the time of reading field by field. What is wrong with the others is
    not said here.
    """
    size = len(data)
    try:
        if data[0] != _MODEL or data[1] > _SHORT:
            return None
        at = 2 + data[1]
        model, version = str(data[2:at], "utf-8"), ""
        if data[at] == _VERSION and data[at + 1] <= _SHORT:
            begin, at = at + 2, at + 2 + data[at + 1]
            version = str(data[begin:at], "utf-8")
        length, begin = varint_at(data, at + 1, size)
        if data[at] != _INPUT or begin + length != size or data[begin] != _NAME or data[begin + 1] > _SHORT:
            return None
        at = begin + 2 + data[begin + 1]
        name = str(data[begin + 2 : at], "utf-8")
        length, begin = varint_at(data, at + 1, size)
        if data[at] != _VALUE or begin + length != size:
            return None
    except (IndexError, UnicodeDecodeError, BadMessage):
        return None
    return _Request(model, version, (Part(name, "", data[begin:]),), "")


def _any_inputs(data: memoryview, most_parts: int) -> _Request:
    model = version = sequence = ""
    inputs: dict[str, memoryview] = {}
    for number, kind, value, _, _ in split(data, most_parts + _FIELDS):
        if kind != BYTES or not isinstance(value, memoryview):
            continue  # nothing that this message has
        if number == 3:
            name, body = _read_input(value)
            inputs[name] = body
        elif number == 1:
            model = text(value, "model_name")
        elif number == 2:
            version = text(value, "model_version")
        elif number == 4:
            sequence = text(value, "sequence_id")
    if len(inputs) > most_parts:
        raise BadRequest(f"The request has {len(inputs)} inputs and at most {most_parts} are accepted.")
    if sequence and not (sequence.isprintable() and len(sequence) <= _PEEK):
        raise BadMessage("sequence_id must be printable text")
    return _Request(model, version, tuple([Part(name, "", body) for name, body in inputs.items()]), sequence)


def _read_input(entry: memoryview) -> tuple[str, memoryview]:
    """Return name and value of an entry of the map `input`."""
    name, body = "", entry[:0]
    for number, kind, value, _, _ in split(entry, _FIELDS):
        if kind == BYTES and isinstance(value, memoryview):
            if number == 1:
                name = text(value, "a name in input")
            elif number == 2:
                body = value
    return name, body
