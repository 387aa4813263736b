"""The management api: query or JSON -> the control plane's verbs -> TorchServe's statuses and texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, overload

import orjson

from ...core.errors import BadRequest, MethodNotAllowed, RouteNotFound, TooLarge
from ...core.payload import Reply
from ...core.tokens import renewable
from ..app_context import AppContext
from ..message.reply import PHRASES, json_reply
from ..message.request import Request

if TYPE_CHECKING:
    from ...core.controlplane import Outcome

_WHOLE = re.compile(r"[+-]?[0-9]+", re.ASCII)
# The numbers of the API and the least that each may be; what is less means the default, as in TorchServe. How many
# workers there may be is for the control plane to say, and of `limit` more than _PAGE mean _PAGE.
NUMBERS = {
    "batch_size": 1, "max_batch_delay": 0, "initial_workers": 0, "response_timeout": 1, "startup_timeout": 0,
    "min_worker": 0, "max_worker": 0, "limit": 0, "next_page_token": 0,
}  # fmt: skip
_MOST = 2**31 - 1
_DIGITS = 20  # longer texts are not even looked at as numbers
_PAGE = 100


async def register(context: AppContext, request: Request) -> Reply:
    """POST /models."""
    # Late, because it brings the scheduler with it, which importing http/ must not load.
    from ...core.registration import RegisterRequest

    _check_allowed(context)
    given = _parameters(context, request)
    if "url" not in given:
        raise BadRequest("Parameter url is required.")
    wanted = RegisterRequest(
        url=given["url"],
        model_name=given.get("model_name") or None,
        handler=given.get("handler") or None,
        runtime=given.get("runtime") or None,
        batch_size=_whole(given, "batch_size"),
        max_batch_delay=_whole(given, "max_batch_delay"),
        initial_workers=_whole(given, "initial_workers"),
        synchronous=_flag(given, "synchronous", default=True),
        response_timeout=_whole(given, "response_timeout"),
        startup_timeout=_whole(given, "startup_timeout"),
        s3_sse_kms=_flag(given, "s3_sse_kms"),
    )
    return _outcome(await context.controlplane.register(wanted))


async def scale(context: AppContext, request: Request) -> Reply:
    """PUT /models/{model}[/{version}]."""
    given = _parameters(context, request)
    outcome = await context.controlplane.scale(
        request.params["model"],
        request.params.get("version") or given.get("model_version") or None,
        minimum=_whole(given, "min_worker", 1),
        maximum=_whole(given, "max_worker"),
        synchronous=_flag(given, "synchronous"),
    )
    return _outcome(outcome)


async def unregister(context: AppContext, request: Request) -> Reply:
    """DELETE /models/{model}[/{version}]."""
    _check_allowed(context)
    outcome = await context.controlplane.unregister(request.params["model"], request.params.get("version"))
    return _outcome(outcome)


async def set_default(context: AppContext, request: Request) -> Reply:
    """PUT /models/{model}/{version}/set-default."""
    return _outcome(await context.controlplane.set_default(request.params["model"], request.params["version"]))


async def describe(context: AppContext, request: Request) -> Reply:
    """GET /models/{model}[/{version}|/all]."""
    customized = _flag(_query(request), "customized")
    version = request.params.get("version")
    return json_reply(await context.controlplane.describe(request.params["model"], version, customized=customized))


def list_models(context: AppContext, request: Request) -> Reply:
    """GET /models. A limit outside 0 to 100 is 100, as in TorchServe."""
    given = _query(request)
    limit = _whole(given, "limit", _PAGE)
    offset = max(0, _whole(given, "next_page_token", 0))
    return json_reply(context.controlplane.list_models(limit if 0 <= limit <= _PAGE else _PAGE, offset))


def downloads(context: AppContext, _request: Request) -> Reply:
    """GET /downloads: how far the archives are that are being downloaded."""
    return json_reply(context.controlplane.downloads())


async def renew_token(context: AppContext, request: Request) -> Reply:
    """/token?type=inference|management: a new key, to be read in the key file."""
    if context.token_auth is None:
        raise RouteNotFound
    kind = renewable(_query(request).get("type", ""))
    if kind is None:
        raise BadRequest("Parameter type must be inference or management.")
    await context.token_auth.renew(kind)
    return Reply(body=b"\n", phrase=PHRASES[200], content_type="application/json")


def _check_allowed(context: AppContext) -> None:
    if not context.model_api:
        raise MethodNotAllowed


def _outcome(outcome: Outcome) -> Reply:
    return json_reply({"status": outcome.message}, 200 if outcome.done else 202)


def _query(request: Request) -> dict[str, str]:
    return {name: values[-1] for name, values in request.query.items()}


def _parameters(context: AppContext, request: Request) -> dict[str, str]:
    """The query's parameters, and over them those of a JSON body; numbers and booleans may be given as text.

    What is neither of them, nor text, is no parameter. Raises TooLarge: hundreds of thousands of keys would take a
    second to read.
    """
    given = _query(request)
    if request.content_type != "application/json" or not request.body:
        return given
    size, most = len(request.body), context.limits.max_parameters
    if size > most:
        raise TooLarge(f"The JSON of a management request has {size} bytes and at most {most} are accepted.")
    try:
        body = orjson.loads(request.body)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"Malformed JSON in body: {error}.") from None
    if not isinstance(body, dict):
        raise BadRequest("The JSON body must be an object of parameters.")
    return given | {name: _text(value) for name, value in body.items() if isinstance(value, str | int | float)}


def _text(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


@overload
def _whole(given: Mapping[str, str], name: str, default: int) -> int: ...
@overload
def _whole(given: Mapping[str, str], name: str, default: None = None) -> int | None: ...
def _whole(given: Mapping[str, str], name: str, default: int | None = None) -> int | None:
    """Return a parameter's whole number. What is none falls back to the default, as in TorchServe.

    Raises BadRequest for one that 32 bits don't hold.
    """
    text = given.get(name, "")
    if not _WHOLE.fullmatch(text):
        return default
    if len(text) > _DIGITS or not -_MOST - 1 <= int(text) <= _MOST:
        raise BadRequest(f"{name} must be a whole number from {NUMBERS[name]} to {_MOST}, not {text[:40]}.")
    return int(text)


def _flag(given: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    return given[name].lower() == "true" if name in given else default
