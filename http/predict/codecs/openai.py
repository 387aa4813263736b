"""OpenAiCodec: OpenAI's wire format for language models. The body names the model; the model's handler reads the rest.

The handler is the one that also answers TorchServe's `/predictions/{model}/{version}/v1/chat/completions`: it gets the
path behind the version as the header `url_path`, and writes OpenAI's JSON and server-sent events. What is left for the
front is to find the model in the body and to tell errors as OpenAI's clients expect them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import orjson

from ....core.errors import BadRequest, ContextExceeded, InvalidKey, ModelNotFound, QueueFull, ServeError
from ....core.payload import Body, Part, Payload, Reply
from ...message.errors import Challenged, error_reply
from ...message.limits import Limits
from ...message.request import Head, media_type
from .codec import Decoded, HeadRead
from .torchserve import handler_headers, wishes

_JSON = "application/json"
_LONGEST_NAME = 1024  # characters; no model has a longer name


class _Named(msgspec.Struct):
    """The field of a request that the front reads. msgspec skips all others without making objects of them."""

    model: str = ""


_NAMED = msgspec.json.Decoder(_Named)

# HTTP status -> OpenAI's `type`, which their libraries show
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "invalid_request_error", 429: "rate_limit_error"}

# error -> OpenAI's `param` and `code`
_NAMED_ERRORS: dict[type[ServeError], tuple[str, str]] = {
    ModelNotFound: ("model", "model_not_found"),
    ContextExceeded: ("max_tokens", "context_length_exceeded"),
}


class OpenAiCodec:
    """The codec of one of OpenAI's paths, such as `v1/chat/completions`."""

    encode: Callable[[Reply], Reply] | None = None  # the handler has written it

    def __init__(self, path: str) -> None:
        self._path = path

    def read_head(
        self, head: Head, fields: Mapping[str, str], params: Mapping[str, str], *, check_json: bool
    ) -> HeadRead:
        """Read the deadline and the priority. Raises BadRequest.

        A body is read as JSON whatever it is said to be, as curl calls all of them forms, unless it is one of parts.
        """
        kind = media_type(fields.get("content-type", _JSON))
        if kind.startswith("multipart/"):
            raise BadRequest(f"The content type is {kind[:100]}, and this path takes {_JSON}.")
        headers = handler_headers(head)
        headers["url_path"] = self._path
        timeout, priority = wishes(fields)
        return HeadRead("", None, timeout, priority, headers)

    def decode(self, read: HeadRead, body: Body, request_id: str, limits: Limits) -> Decoded:
        """Return the model that the body names, "" if none, and the body as payload. Raises BadRequest.

        That takes no steps: a body is looked through at a gigabyte per second.
        """
        try:
            named = _NAMED.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadRequest(f"The body is no JSON object of a request: {error}") from None
        if len(named.model) > _LONGEST_NAME:
            raise BadRequest(f"The model's name has {len(named.model)} characters, more than {_LONGEST_NAME}.")
        headers: dict[str, str] = read.detail
        return named.model, Payload(request_id, (Part("body", _JSON, body),), headers, read.timeout, read.priority)

    def error(self, error: BaseException) -> Reply:
        """Return OpenAI's error object, with the status and headers of TorchServe's."""
        if isinstance(error, InvalidKey) and not isinstance(error, Challenged):
            error = Challenged(error.message)  # TorchServe answers 400, which OpenAI's libraries take for a bad request
        reply = error_reply(error)
        headers = reply.headers
        return Reply(_error_body(error, reply), _status(error, reply), "", _JSON, headers)

    def broken_off(self, error: BaseException) -> bytes | None:
        """Return the event that tells of an error in the middle of a stream."""
        return b"data: %b\n\n" % _error_body(error, error_reply(error)).replace(b"\n", b"")


def _status(error: BaseException, reply: Reply) -> int:
    """Return 429 for a full queue, which OpenAI's libraries take for a rate limit, else TorchServe's status."""
    return 429 if isinstance(error, QueueFull) else reply.status


def _error_body(error: BaseException, reply: Reply) -> bytes:
    status = _status(error, reply)
    param, code = next((found for kind, found in _NAMED_ERRORS.items() if isinstance(error, kind)), (None, None))
    told: dict[str, Any] = {
        "message": _message(error, reply),
        "type": _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error"),
        "param": param,
        "code": code,
    }
    return orjson.dumps({"error": told})


def _message(error: BaseException, reply: Reply) -> str:
    if isinstance(error, ServeError):
        return error.message
    return str(orjson.loads(reply.body)["message"])
