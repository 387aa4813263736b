"""A gRPC call of grpcio's client, and what came back as plain data."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import grpc

from torchserve.http.rpc.protos.messages import message, service

from .plain import Namer

SERVICES = {
    "grpc": "org.pytorch.serve.grpc.inference.InferenceAPIsService",
    "grpc_management": "org.pytorch.serve.grpc.management.ManagementAPIsService",
}
_CLASS = re.compile(r"\n((?:[a-z]+\.)*\w+Exception(?:\.\(\))?)$")
_ANYTHING = bytes


def exchange(
    port: int,
    method: str,
    requests: tuple[Any, ...],
    metadata: list[tuple[str, str]],
    compression: grpc.Compression | None,
    patience: float,
) -> dict[str, Any]:
    """Call a method; `requests` are messages as mappings, or bytes as they are. Returns status, text and messages."""
    name, _, short = method.rpartition("/")
    send, receive, inward, outward = _kinds(name, short)
    kind = f"{'stream' if inward else 'unary'}_{'stream' if outward else 'unary'}"
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = getattr(channel, kind)(f"/{method}", request_serializer=send, response_deserializer=receive)
        asked: Any = iter(requests) if inward else requests[0]
        given = {"timeout": patience, "metadata": metadata, "compression": compression}
        found: list[Any] = []
        try:
            answer = call(asked, **given)
            found += answer if outward else [answer]
        except grpc.RpcError as error:
            ended: Any = error
            return {"status": ended.code().name, "message": ended.details() or "", "messages": found}
    return {"status": "OK", "message": "", "messages": found}


def plain(answer: dict[str, Any], namer: Namer) -> dict[str, Any]:
    """The same without what differs from run to run; the class that an error's text ends with stands for itself."""
    text = namer.text(answer["message"])
    told = _CLASS.search(text)
    found = {"status": answer["status"], "message": text[: told.start()] if told else text}
    if told:
        found["class"] = told[1]
    return found | {"messages": [_fields(each, namer) for each in answer["messages"]]}


def _fields(each: Any, namer: Namer) -> Any:
    if isinstance(each, bytes):
        return namer.body(each)[0]
    found: dict[str, Any] = {}
    for field, value in each.ListFields():
        if field.message_type is not None:
            found[field.name] = _fields(value, namer)
        elif isinstance(value, (str, bytes)):
            found[field.name] = namer.body(value.encode() if isinstance(value, str) else value)[0]
        else:
            found[field.name] = value
    return found


def _kinds(name: str, method: str) -> tuple[Callable[[Any], bytes], Callable[[bytes], Any], bool, bool]:
    try:
        found = service(name).methods_by_name[method]
    except KeyError:  # one that there is not
        return _ANYTHING, _ANYTHING, False, False
    request, response = message(found.input_type.full_name), message(found.output_type.full_name)

    def send(asked: Any) -> bytes:
        return asked if isinstance(asked, bytes) else request(**asked).SerializeToString()

    return send, response.FromString, found.client_streaming, found.server_streaming
