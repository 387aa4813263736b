"""The endpoints of the management API: a query or JSON -> a call of the control plane -> TorchServe's answer."""

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
# The numeric parameters and the least value of each, which error messages name. The control plane says how many
# workers there may be.
NUMBERS = {
    "batch_size": 1, "max_batch_delay": 0, "initial_workers": 0, "response_timeout": 1, "startup_timeout": 0,
    "min_worker": 0, "max_worker": 0, "limit": 0, "next_page_token": 0, "seconds": 1,
}  # fmt: skip
_MOST = 2**31 - 1
_DIGITS = 20  # of a text that is converted: converting takes quadratic time
_PAGE = 100
_SECONDS = 10  # of a profile


async def register(context: AppContext, request: Request) -> Reply:
    """Answer POST /models: register a model."""
    # Imported here: it imports the scheduler, which importing http/ must not load.
    from ...core.registration import RegisterRequest

    check_allowed(context)
    given = parameters(context, request)
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
    return outcome_reply(await context.controlplane.register(wanted))


async def scale(context: AppContext, request: Request) -> Reply:
    """Answer PUT /models/{model}[/{version}]: set how many workers a model has."""
    given = parameters(context, request)
    outcome = await context.controlplane.scale(
        request.params["model"],
        request.params.get("version") or given.get("model_version") or None,
        minimum=_whole(given, "min_worker", 1),
        maximum=_whole(given, "max_worker"),
        synchronous=_flag(given, "synchronous"),
    )
    return outcome_reply(outcome)


async def unregister(context: AppContext, request: Request) -> Reply:
    """Answer DELETE /models/{model}[/{version}]: remove a model."""
    check_allowed(context)
    outcome = await context.controlplane.unregister(request.params["model"], request.params.get("version"))
    return outcome_reply(outcome)


async def set_default(context: AppContext, request: Request) -> Reply:
    """Answer PUT /models/{model}/{version}/set-default: make a version the default of its model."""
    return outcome_reply(await context.controlplane.set_default(request.params["model"], request.params["version"]))


async def set_traffic(context: AppContext, request: Request) -> Reply:
    """Answer PUT /models/{model}/traffic: share the requests that name no version among versions."""
    given = parameters(context, request)
    return outcome_reply(await context.controlplane.set_traffic(request.params["model"], given))


async def clear_traffic(context: AppContext, request: Request) -> Reply:
    """Answer DELETE /models/{model}/traffic: have the default version answer all of them."""
    return outcome_reply(await context.controlplane.set_traffic(request.params["model"], None))


async def purge(context: AppContext, request: Request) -> Reply:
    """Answer DELETE /models/{model}[/{version}]/cache: drop the answers that are kept."""
    return outcome_reply(context.controlplane.purge(request.params["model"], request.params.get("version")))


def traffic(context: AppContext, request: Request) -> Reply:
    """Answer GET /models/{model}/traffic: show how they are shared."""
    return json_reply(context.controlplane.traffic.describe(request.params["model"]))


async def profile(context: AppContext, request: Request) -> Reply:
    """Answer POST /models/{model}[/{version}]/profile: record what a worker does, as a file."""
    given = parameters(context, request)
    seconds, worker = _whole(given, "seconds", _SECONDS), given.get("worker") or None
    profiles = context.controlplane.profiles
    taken = await profiles.take(request.params["model"], request.params.get("version"), worker, seconds)
    headers = (("Content-Disposition", f'attachment; filename="{taken.name}"'), ("X-Profile-Note", taken.note))
    return Reply(body=taken.data, phrase=PHRASES[200], content_type="application/gzip", headers=headers)


async def stacks(context: AppContext, request: Request) -> Reply:
    """Answer GET /models/{model}[/{version}]/stacks: tell what the threads of the workers are doing."""
    worker = _query(request).get("worker") or None
    profiles = context.controlplane.profiles
    return json_reply(
        {"workers": await profiles.stacks(request.params["model"], request.params.get("version"), worker)}
    )


async def describe(context: AppContext, request: Request) -> Reply:
    """Answer GET /models/{model}[/{version}|/all]: describe a model, or all versions of it."""
    customized = _flag(_query(request), "customized")
    version = request.params.get("version")
    return json_reply(await context.controlplane.describe(request.params["model"], version, customized=customized))


def list_models(context: AppContext, request: Request) -> Reply:
    """Answer GET /models: list the models in pages. A limit outside 0 to 100 is 100, as in TorchServe."""
    return json_reply(context.controlplane.list_models(*page_of(request)))


def page_of(request: Request) -> tuple[int, int]:
    """Return how many entries a request for a list wants, and how many come before them."""
    given = _query(request)
    limit = _whole(given, "limit", _PAGE)
    return limit if 0 <= limit <= _PAGE else _PAGE, max(0, _whole(given, "next_page_token", 0))


def downloads(context: AppContext, _request: Request) -> Reply:
    """Answer GET /downloads: list the archives that are being downloaded, and how far each is."""
    return json_reply(context.controlplane.downloads())


async def renew_token(context: AppContext, request: Request) -> Reply:
    """Answer /token?type=inference|management: write a new key into the key file."""
    if context.token_auth is None:
        raise RouteNotFound
    kind = renewable(_query(request).get("type", ""))
    if kind is None:
        raise BadRequest("Parameter type must be inference or management.")
    await context.token_auth.renew(kind)
    return Reply(body=b"\n", phrase=PHRASES[200], content_type="application/json")


def check_allowed(context: AppContext) -> None:
    """Raise MethodNotAllowed where nothing may be registered or removed."""
    if not context.model_api:
        raise MethodNotAllowed


def outcome_reply(outcome: Outcome) -> Reply:
    """Return the answer to a management call."""
    return json_reply({"status": outcome.message}, 200 if outcome.done else 202)


def _query(request: Request) -> dict[str, str]:
    return {name: values[-1] for name, values in request.query.items()}


def parameters(context: AppContext, request: Request) -> dict[str, str]:
    """Return the parameters of the query and of a JSON body, as text; the body's win.

    A value of the body that is neither text, number nor boolean is left out. Raises BadRequest, and TooLarge for a
    body over `max_parameters` bytes: hundreds of thousands of keys would take a second to read.
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
    """Return a parameter as a whole number, or `default` if its text is no whole number, as in TorchServe.

    Raises BadRequest for a number that 32 bits don't hold.
    """
    text = given.get(name, "")
    if not _WHOLE.fullmatch(text):
        return default
    if len(text) > _DIGITS or not -_MOST - 1 <= int(text) <= _MOST:
        raise BadRequest(f"{name} must be a whole number from {NUMBERS[name]} to {_MOST}, not {text[:40]}.")
    return int(text)


def _flag(given: Mapping[str, str], name: str, *, default: bool = False) -> bool:
    return given[name].lower() == "true" if name in given else default
