"""TorchServe's management service: a message -> a call of the control plane -> the text that REST answers with.

Numbers that are not positive mean "not said", since the messages can't tell them from that.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from ...core.errors import BadRequest
from ..app_context import AppContext
from ..message.reply import json_reply
from .protos.messages import Message, message
from .status import Code, RpcFailure

if TYPE_CHECKING:
    from ...core.controlplane import Outcome

PACKAGE = "org.pytorch.serve.grpc.management"
SERVICE = f"{PACKAGE}.ManagementAPIsService"
_PAGE = 100

_Response = message(f"{PACKAGE}.ManagementResponse")


async def describe(context: AppContext, asked: Any) -> Message:
    """Answer DescribeModel with the JSON of GET /models/{model}."""
    found = await context.controlplane.describe(
        asked.model_name, asked.model_version or None, customized=asked.customized
    )
    return _json(found)


def list_models(context: AppContext, asked: Any) -> Message:
    """Answer ListModels with the JSON of GET /models. A limit outside 1 to 100 is 100."""
    limit = asked.limit if 0 < asked.limit <= _PAGE else _PAGE
    return _json(context.controlplane.list_models(limit, max(0, asked.next_page_token)))


async def register(context: AppContext, asked: Any) -> Message:
    """Answer RegisterModel: register a model."""
    # Imported here: it imports the scheduler, which importing http/ must not load.
    from ...core.registration import RegisterRequest

    check_allowed(context)
    _need(asked.url, "url")
    return _outcome(
        await context.controlplane.register(
            RegisterRequest(
                url=asked.url,
                model_name=asked.model_name or None,
                handler=asked.handler or None,
                runtime=asked.runtime or None,
                batch_size=_positive(asked.batch_size),
                max_batch_delay=_positive(asked.max_batch_delay),
                initial_workers=_positive(asked.initial_workers),
                synchronous=asked.synchronous,
                response_timeout=_positive(asked.response_timeout),
                startup_timeout=_positive(asked.startup_timeout),
                s3_sse_kms=asked.s3_sse_kms,
            )
        )
    )


async def scale(context: AppContext, asked: Any) -> Message:
    """Answer ScaleWorker: set how many workers a model has."""
    _need(asked.model_name, "model_name")
    return _outcome(
        await context.controlplane.scale(
            asked.model_name,
            asked.model_version or None,
            minimum=_positive(asked.min_worker) or 1,
            maximum=_positive(asked.max_worker),
            synchronous=asked.synchronous,
        )
    )


async def set_default(context: AppContext, asked: Any) -> Message:
    """Answer SetDefault: make a version the default of its model."""
    return _outcome(await context.controlplane.set_default(asked.model_name, asked.model_version))


async def unregister(context: AppContext, asked: Any) -> Message:
    """Answer UnregisterModel: remove a model, or a version of it."""
    check_allowed(context)
    _need(asked.model_name, "model_name")
    return _outcome(await context.controlplane.unregister(asked.model_name, asked.model_version or None))


METHODS: dict[str, Callable[[AppContext, Any], Message | Awaitable[Message]]] = {
    "DescribeModel": describe,
    "ListModels": list_models,
    "RegisterModel": register,
    "ScaleWorker": scale,
    "SetDefault": set_default,
    "UnregisterModel": unregister,
}


def _need(value: str, name: str) -> None:
    if not value:
        raise BadRequest(f"Parameter {name} is required.")


def check_allowed(context: AppContext) -> None:
    """Raise RpcFailure if nothing may be registered or removed."""
    if not context.model_api:
        raise RpcFailure(Code.PERMISSION_DENIED, "Model API disabled\norg.pytorch.serve.archive.model.ModelException")


def _positive(number: int) -> int | None:
    return number if number > 0 else None


def _json(value: object) -> Message:
    return _Response(msg=bytes(json_reply(value).body).decode().rstrip("\n"))


def _outcome(outcome: Outcome) -> Message:
    return _Response(msg=outcome.message)
