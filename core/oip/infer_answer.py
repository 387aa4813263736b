"""InferAnswer: a model's answer to a request of the Open Inference Protocol, as its reply carries it.

The reply's body is an answer of the protocol's REST half: JSON, and behind it the raw bytes of those outputs that were
wanted in binary form. Where there are any, a header of the reply says how long the JSON is. REST passes it on as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import HandlerFailed
from ..payload import Body, Parameters, Reply
from .infer_request import LONGEST_NAME, REGION, Tensor
from .rest import LENGTH_HEADER


class InferAnswer(msgspec.Struct, frozen=True):
    """An answer. An output with `json` has its values as the text of a JSON list, the others have raw bytes.

    An output whose parameters name a shared memory region has been written there, and has no bytes here.
    """

    model: str
    version: str
    id: str
    outputs: tuple[Tensor, ...]
    parameters: Parameters = {}


class _Output(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: msgspec.Raw = msgspec.Raw(b"")
    parameters: dict[str, bool | int | float | str] = {}


class _Answer(msgspec.Struct, omit_defaults=True):
    model_name: str = ""
    model_version: str = ""
    id: str = ""
    outputs: list[_Output] = []
    parameters: dict[str, bool | int | float | str] = {}


_DECODER = msgspec.json.Decoder(_Answer)


def read_answer(reply: Reply) -> InferAnswer:
    """Return the answer that a reply carries; its tensors are views of the reply's body.

    Raises HandlerFailed for a reply without one, and for one that is made of the pieces of a handler that streams.
    """
    document, contents = cut_answer(reply)
    try:
        read = _DECODER.decode(document)
    except msgspec.MsgspecError as error:
        raise HandlerFailed(f"The model's answer holds no tensors: {error}.", 500) from None
    at = 0
    outputs: list[Tensor] = []
    for each in read.outputs:
        size = each.parameters.pop("binary_data_size", None)
        data: Body = memoryview(each.data)
        if REGION in each.parameters:
            outputs.append(Tensor(each.name, each.datatype, tuple(each.shape), b"", False, each.parameters))
            continue
        if size is not None:
            data, at = contents[at : at + int(size)], at + int(size)
        outputs.append(Tensor(each.name, each.datatype, tuple(each.shape), data, size is None, each.parameters))
    if at != len(contents):
        raise HandlerFailed(
            "The model streams its answer, of which each piece has tensors of its own: ask for it on a stream"
            " (ModelStreamInfer).",
            501,
        )
    return InferAnswer(read.model_name, read.model_version, read.id, tuple(outputs), read.parameters)


def cut_answer(reply: Reply) -> tuple[memoryview, memoryview]:
    """Return the JSON of a reply, and the raw bytes behind it."""
    view = memoryview(reply.body)
    for name, value in reply.headers:
        if name == LENGTH_HEADER:
            return view[: int(value)], view[int(value) :]
    return view, view[:0]


def write_answer(answer: InferAnswer) -> tuple[bytes, int | None]:
    """Return an answer's body, and the length of its JSON if raw bytes follow that."""
    if not answer.parameters and not any(each.json or each.parameters for each in answer.outputs):
        heads = [(each.name, each.datatype, each.shape) for each in answer.outputs]
        raw = [each.data for each in answer.outputs]
        document = plain_document(answer.model, answer.version, answer.id, heads, raw)
        if document is not None:
            return b"".join((document, *raw)), len(document)
    outputs: list[dict[str, Any]] = []
    tail: list[Body] = []
    for each in answer.outputs:
        entry: dict[str, Any] = {"name": each.name, "datatype": each.datatype, "shape": each.shape}
        parameters = dict(each.parameters)
        if each.json:
            entry["data"] = msgspec.Raw(each.data)
        elif REGION not in parameters:
            parameters["binary_data_size"] = len(each.data)
            tail.append(each.data)
        if parameters:
            entry["parameters"] = parameters
        outputs.append(entry)
    head: dict[str, Any] = {"model_name": answer.model, "model_version": answer.version}
    if answer.id:
        head["id"] = answer.id
    if answer.parameters:
        head["parameters"] = answer.parameters
    document = msgspec.json.encode(head | {"outputs": outputs})
    return b"".join((document, *tail)), len(document) if tail else None


_MOST_KNOWN = 256  # beginnings of answers, of so many outputs at most
_MOST_OUTPUTS = 16
_known: dict[tuple[Any, ...], tuple[bytes, bytes]] = {}


def plain_document(
    model: str, version: str, request_id: str, heads: Sequence[tuple[str, str, tuple[int, ...]]], raw: Sequence[Body]
) -> bytes | None:
    """Return the JSON of an answer with nothing but raw bytes: of outputs with these names, datatypes and shapes. None
    of one that is none, or that is not worth it.

    One answer after the other has the same, but for its id, and most of the time that an answer takes is spent on it.
    """
    if not 0 < len(heads) <= _MOST_OUTPUTS:
        return None
    key = (model, version, *heads, *map(len, raw))
    known = _known.get(key)
    if known is None:
        if max([len(name) for name, _, _ in heads]) > LONGEST_NAME:
            return None
        known = _written(model, version, heads, raw)
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[key] = known
    before, behind = known
    return b"".join((before, b',"id":', msgspec.json.encode(request_id), behind)) if request_id else before + behind


def _written(
    model: str, version: str, heads: Sequence[tuple[str, str, tuple[int, ...]]], raw: Sequence[Body]
) -> tuple[bytes, bytes]:
    """Return what goes before the id of a plain answer, and behind it."""
    head = msgspec.json.encode({"model_name": model, "model_version": version})
    outputs = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(data)}}
        for (name, datatype, shape), data in zip(heads, raw, strict=True)
    ]
    return head[:-1], b',"outputs":' + msgspec.json.encode(outputs) + b"}"


def reply_of(answer: InferAnswer) -> Reply:
    """Return the reply that carries an answer."""
    body, length = write_answer(answer)
    if length is None:
        return Reply(body, content_type="application/json")
    return Reply(body, content_type="application/octet-stream", headers=((LENGTH_HEADER, str(length)),))
