"""Plays rows of this comparison on either server, and says what was seen without what differs from run to run."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict

from .. import rpc, wire
from ..steps import Call, Row, Rpc, Step

SERVICE = "inference.GRPCInferenceService"
# The headers that the protocol is about. Others, such as those against caching, are each server's own.
_HEADERS = ("allow", "content-encoding", "content-type", "inference-header-content-length")


def play(row: Row, ports: Mapping[str, int]) -> list[Any]:
    """Return what each step of a row showed."""
    return [_step(step, ports) for step in row.steps]


def _step(step: Step, ports: Mapping[str, int]) -> Any:
    if isinstance(step, Call):
        return _call(step, ports["inference"])
    assert isinstance(step, Rpc)
    return _rpc(step, ports["grpc"])


def _call(call: Call, port: int) -> dict[str, Any]:
    data = wire.request(call.method, call.path, list(call.headers), call.body, port)
    try:
        found = wire.exchange(port, data, call.patience)
    except wire.Silence as silence:
        return {"none": str(silence)}
    of_interest = _HEADERS if found["status"] < 400 else _HEADERS[:1]  # Triton calls the JSON of an error text or JSON
    headers = {name: found["headers"][name] for name in of_interest if name in found["headers"]}
    body, length = found["body"], headers.get("inference-header-content-length")
    told: dict[str, Any] = {"status": found["status"], "headers": headers}
    if length is not None:
        headers["inference-header-content-length"] = "<length>"
        told["raw"] = base64.b64encode(body[int(length) :]).decode()
        body = body[: int(length)]
    told["body"] = _body(body)
    return told


def _body(body: bytes) -> Any:
    try:
        return _settled(json.loads(body))
    except ValueError:
        return body.decode("utf-8", "backslashreplace")


def _rpc(asked: Rpc, port: int) -> dict[str, Any]:
    method = asked.method if "/" in asked.method else f"{SERVICE}/{asked.method}"
    compression = grpc.Compression[asked.compression] if asked.compression else None
    found = rpc.exchange(port, method, asked.requests, list(asked.metadata), compression, asked.patience)
    messages: list[Any] = [
        each.decode() if isinstance(each, bytes) else _settled(MessageToDict(each, preserving_proto_field_name=True))
        for each in found["messages"]
    ]
    if (
        asked.method == "ModelStreamInfer"
    ):  # here answers come as they are ready, in Triton in the order of the requests
        messages.sort(key=lambda each: each["infer_response"].get("id", ""))
    return {"status": found["status"], "message": found["message"], "messages": messages}


def _settled(value: Any, key: str = "") -> Any:
    """Return plain data without durations and times."""
    if isinstance(value, dict):
        return {name: _settled(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [_settled(each) for each in value]
    if key in {"ns", "last_inference"}:
        return "<time>" if int(value) else value
    return value
