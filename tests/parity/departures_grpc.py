"""Where gRPC departs from TorchServe's: row -> (reason, edits), as departures.py has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ANY = "<anything>"
_HTTP = "org.pytorch.serve.http"
_MODEL = "org.pytorch.serve.archive.model"


def _failed(status: str, message: str, kind: str = "") -> dict[str, Any]:
    """A call of ours that failed."""
    told = {"status": status, "message": message} | ({"class": kind} if kind else {})
    return told | {"messages": []}


def _answered(*messages: Any) -> dict[str, Any]:
    return {"status": "OK", "message": "", "messages": list(messages)}


_AGENT = {"user-agent": _ANY}
_METADATA = "the metadata of a call are the request's headers: trace ids, tenants, and what grpcio says of itself"
_NOT_FOUND = "NOT_FOUND, as over management: clients look at the code, and retry what is INTERNAL"
_NO_TEXT = "a status that says what was wrong, with a text"
_LAST_PAGE = "a page that is the last names no next one"

GRPC: dict[str, tuple[str, Mapping[str, Any]]] = {
    "grpc: several inputs": (_METADATA, {f"{at}/messages/0/prediction/headers/user-agent": _ANY for at in (0, 1)}),
    "grpc: no input": (_METADATA, {"0/messages/0/prediction/headers": _AGENT}),
    "grpc: metadata": (_METADATA, {
        "0/messages/0/prediction/headers": {"a": {"content-type": ""}, "user-agent": _ANY, "x-mine": "yes"},
    }),
    "grpc: a sequence that a plain model has no use for": (
        "an answer names the sequence of its request", {"0/messages/0/sequence_id": "s"}
    ),
    "grpc: an unknown model": (
        _NOT_FOUND, {"0": _failed("NOT_FOUND", "Model not found: nobody", f"{_MODEL}.ModelNotFoundException")}
    ),
    "grpc: an unknown version": (_NOT_FOUND, {"0": _failed(
        "NOT_FOUND", "Model version: 9 does not exist for model: probe", f"{_MODEL}.ModelVersionNotFoundException"
    )}),
    "grpc: no model": (
        "the only model that was loaded at start is meant, as over REST",
        {"0": _answered({"prediction": {"of": 1, "row": {}, "headers": _AGENT}})},
    ),
    "grpc: a message that is none": (_NO_TEXT, {"0": _failed(
        "INVALID_ARGUMENT", "The request is not the message that this method takes", f"{_HTTP}.BadRequestException"
    )}),
    "grpc: a message above max_request_size": ("a status that names both numbers", {"0": _failed(
        "RESOURCE_EXHAUSTED", "The message has 60020 bytes and at most 50000 are accepted (max_request_size)."
    )}),
    "grpc: deflate": ("deflate is read, too", {"0": _answered({"prediction": "z"})}),
    "grpc: a stream of an unknown model": (
        _NOT_FOUND, {"0": _failed("NOT_FOUND", "Model not found: nobody", f"{_MODEL}.ModelNotFoundException")}
    ),
    "grpc: a stream of a handler that does not stream": (
        "its answer is the only message", {"0": _answered({"prediction": "x"})}
    ),
    "grpc: many requests to a model that is not stateful": (_NO_TEXT, {"0": _failed(
        "FAILED_PRECONDITION",
        "Model probe is not stateful: StreamPredictions2 takes requests to models with sequenceBatching. Call"
        " Predictions or StreamPredictions.",
    )}),
    "grpc: list without a limit": ("a client that says no limit wants a page of models, and not none", {
        "0/messages/0/msg": {"models": [
            {"modelName": name, "modelUrl": f"{name}.mar"} for name in ("describes", "echo")
        ]},
    }),
    "grpc: list": (_LAST_PAGE, {"1/messages/0/msg/nextPageToken": None}),
    "grpc: register a registered version": (_NO_TEXT, {"0": _failed(
        "ALREADY_EXISTS", "Model version 1.0 is already registered for model other", f"{_HTTP}.ConflictStatusException"
    )}),
    "grpc: scale no model": (
        _NO_TEXT,
        {"0": _failed("INVALID_ARGUMENT", "Parameter model_name is required.", f"{_HTTP}.BadRequestException")},
    ),
    "grpc: unregister no model": (
        "it names the parameter that is missing", {"0/message": "Parameter model_name is required."}
    ),
    "grpc tokens: ping without a key": (
        "health routes are open: a liveness probe has no key", {"0": _answered({"health": {"status": "Healthy"}})}
    ),
    "grpc tokens: list": (_LAST_PAGE, {"2/messages/0/msg/nextPageToken": None}),
}  # fmt: skip
