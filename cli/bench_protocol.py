"""The protocols that `torchserve bench` speaks: what each sends for a payload, where to, and what is in its answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import click

from ..core.errors import BadRequest
from ..core.oip.infer_request import InferRequest
from .infer_messages import (
    MODEL_INFER,
    PREDICTIONS,
    STREAM_PREDICTIONS,
    TensorForm,
    infer_binary,
    infer_json,
    infer_message,
    infer_path,
    predictions_message,
    read_binary,
    read_form,
    read_message,
    read_request,
)
from .loadgen.payload import Payload
from .loadgen.rpc_answer import prediction, whole

PROTOCOLS = ("rest", "grpc", "grpc-stream", "oip-rest", "oip-rest-binary", "oip-grpc")
RPC = frozenset({"grpc", "grpc-stream", "oip-grpc"})
_TARGETS = {"grpc": PREDICTIONS, "grpc-stream": STREAM_PREDICTIONS, "oip-grpc": MODEL_INFER}


@dataclass(frozen=True, slots=True)
class Spoken:
    """The requests of a run in a protocol.

    The fields are the Scenario's of these names. `read` makes the values of an answer, which are compared where its
    bytes differ from the expected ones.
    """

    target: str
    payloads: tuple[Payload, ...]
    rpc: bool = False
    streams: bool = False
    unwrap: Callable[[bytes], bytes] = whole
    read: Callable[[bytes], Any] = json.loads


def speak(
    protocol: str, model: str, version: str | None, payloads: tuple[Payload, ...], form: TensorForm | None
) -> Spoken:
    """Return the requests with these payloads in one of PROTOCOLS except `rest`.

    With an Open Inference Protocol a payload is a request of it in JSON or, with a `form`, the bytes of its only
    tensor. Raises click.ClickException for one that is neither.
    """
    if protocol in {"grpc", "grpc-stream"}:
        made = tuple([replace(each, wire=predictions_message(model, version, each.body)) for each in payloads])
        return Spoken(_TARGETS[protocol], made, True, protocol == "grpc-stream", prediction)
    requests = [(each, _request(each, form)) for each in payloads]
    if protocol == "oip-grpc":
        made = tuple([replace(each, wire=infer_message(model, version, request)) for each, request in requests])
        return Spoken(_TARGETS[protocol], made, True, read=read_message)
    if protocol == "oip-rest":
        made = tuple([_in_json(each, request, form) for each, request in requests])
        return Spoken(infer_path(model, version), made)
    made = tuple([_in_binary(each, request) for each, request in requests])
    return Spoken(infer_path(model, version), made, read=read_binary)


def _request(payload: Payload, form: TensorForm | None) -> InferRequest:
    try:
        return read_request(payload.body) if form is None else form.request(payload.body)
    except BadRequest as error:
        hint = "" if form is not None else " (--tensor says that a file is the bytes of a tensor)"
        raise click.ClickException(f"{payload.name}: {error.message}{hint}") from None


def _in_json(payload: Payload, request: InferRequest, form: TensorForm | None) -> Payload:
    wire = None if form is None else infer_json(request)  # a document goes out as it is
    return replace(payload, content_type="application/json", wire=wire)


def _in_binary(payload: Payload, request: InferRequest) -> Payload:
    wire, headers = infer_binary(request)
    return replace(payload, content_type="application/octet-stream", wire=wire, headers=headers)


def protocol_options() -> tuple[Callable[..., Any], ...]:
    """Return the options that say what is spoken."""
    return (
        click.option(
            "--protocol",
            type=click.Choice(PROTOCOLS),
            default="rest",
            show_default=True,
            help="What is spoken: TorchServe's REST API, its gRPC (grpc: Predictions, grpc-stream: StreamPredictions),"
            " or the Open Inference Protocol by REST, in JSON or binary form, and by gRPC with raw contents.",
        ),
        click.option(
            "--channels",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Connections of gRPC that the calls in flight share.",
        ),
        click.option(
            "--tensor",
            metavar="NAME:DATATYPE:SHAPE",
            callback=_tensor,
            help="Each payload is the bytes of this tensor, as image:FP32:1x3x224x224, for the Open Inference Protocol."
            " Default: it is a request of the protocol in JSON.",
        ),
    )


def check_protocol(given: dict[str, Any]) -> None:
    """Raise click.UsageError for options that the protocol does not have."""
    protocol = given["protocol"]
    if given["path"] is not None and protocol != "rest":
        raise click.UsageError(f"--path is for --protocol rest: of {protocol} it is known")
    if given["channels"] != 1 and protocol not in RPC:
        raise click.UsageError(f"--channels is for {', '.join(sorted(RPC))}: with {protocol} --concurrency counts them")
    if given["tensor"] is not None and not protocol.startswith("oip"):
        raise click.UsageError("--tensor is for the Open Inference Protocol: give its --protocol")
    if given["check"] == "echo" and protocol.startswith("oip"):
        raise click.UsageError("--check echo is for bytes that come back: with tensors, take same")
    if given["content_type"] is not None and protocol != "rest":
        raise click.UsageError(f"--content-type is for --protocol rest: {protocol} has its own")


def _tensor(_context: click.Context, _option: click.Parameter, value: str | None) -> TensorForm | None:
    try:
        return None if value is None else read_form(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
