"""The Open Inference Protocol's service beside infer: health, metadata, statistics, and the model repository."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.json_format import ParseDict

from ...core.errors import BadRequest, NotFound
from ...core.version import __version__
from ..api.open_inference import extensions
from ..app_context import AppContext
from .management import check_allowed
from .protos.messages import Message, message

SERVICE = "inference.GRPCInferenceService"
TORCHSERVE_SERVICE = "org.pytorch.serve.grpc.openinference.GRPCInferenceService"


def _answer(name: str, fields: dict[str, Any]) -> Message:
    """Return a response with these fields, without those that the message has not."""
    return ParseDict(fields, message(f"inference.{name}Response")(), ignore_unknown_fields=True)


def live(_context: AppContext, _asked: Any) -> Message:
    """Answer ServerLive: a server that answers is alive."""
    return _answer("ServerLive", {"live": True})


def ready(context: AppContext, _asked: Any) -> Message:
    """Answer ServerReady: whether all models that were loaded at start are there."""
    return _answer("ServerReady", {"ready": not context.controlplane.missing()})


def model_ready(context: AppContext, asked: Any) -> Message:
    """Answer ModelReady: whether a version has its workers; a model that there is not is not ready."""
    try:
        return torchserve_model_ready(context, asked)
    except NotFound:
        return _answer("ModelReady", {"ready": False})


def torchserve_model_ready(context: AppContext, asked: Any) -> Message:
    """Answer ModelReady as TorchServe does: with NOT_FOUND for a model that there is not."""
    return _answer("ModelReady", {"ready": context.controlplane.ready(_name(asked), asked.version or None)})


def server_metadata(_context: AppContext, _asked: Any, *, shared_memory: bool = False) -> Message:
    """Answer ServerMetadata: the server's name, version and extensions of the protocol."""
    served = extensions(shared_memory=shared_memory)
    return _answer("ServerMetadata", {"name": "torchserve", "version": __version__, "extensions": served})


def model_metadata(context: AppContext, asked: Any) -> Message:
    """Answer ModelMetadata: the model's versions and tensors."""
    found = context.controlplane.repository.metadata(_name(asked), asked.version or None)
    return _answer("ModelMetadata", found)


def configuration(context: AppContext, asked: Any) -> Message:
    """Answer ModelConfig: how the model is run, in Triton's words."""
    found = context.controlplane.repository.configuration(_name(asked), asked.version or None)
    return _answer("ModelConfig", {"config": found})


def statistics(context: AppContext, asked: Any) -> Message:
    """Answer ModelStatistics: how many requests took how long, of a version, of a model or of all."""
    found = context.controlplane.repository.statistics(asked.name, asked.version or None)
    return _answer("ModelStatistics", {"model_stats": found})


def index(context: AppContext, asked: Any) -> Message:
    """Answer RepositoryIndex: the registered versions and their states; with `ready`, those that serve."""
    return _answer("RepositoryIndex", {"models": context.controlplane.repository.index(ready=asked.ready)})


async def load(context: AppContext, asked: Any) -> Message:
    """Answer RepositoryModelLoad: register the archive of that name of the model store."""
    check_allowed(context)
    if asked.parameters:
        raise BadRequest(
            "Loading takes no parameters here: configuration and files are the archive's, which the model store has."
        )
    await context.controlplane.repository.load(_model_name(asked))
    return _answer("RepositoryModelLoad", {})


async def unload(context: AppContext, asked: Any) -> Message:
    """Answer RepositoryModelUnload: remove all versions of the model."""
    check_allowed(context)
    await context.controlplane.repository.unload(_model_name(asked))
    return _answer("RepositoryModelUnload", {})


READS: dict[str, Callable[[AppContext, Any], Message | Awaitable[Message]]] = {
    "ModelReady": model_ready,
    "ServerMetadata": server_metadata,
    "ModelMetadata": model_metadata,
    "ModelConfig": configuration,
    "ModelStatistics": statistics,
    "RepositoryIndex": index,
}
COMMANDS: dict[str, Callable[[AppContext, Any], Message | Awaitable[Message]]] = {
    "RepositoryModelLoad": load,
    "RepositoryModelUnload": unload,
}


def _name(asked: Any) -> str:
    if not asked.name:
        raise BadRequest("Parameter name is required.")
    return asked.name


def _model_name(asked: Any) -> str:
    if not asked.model_name:
        raise BadRequest("Parameter model_name is required.")
    return asked.model_name
