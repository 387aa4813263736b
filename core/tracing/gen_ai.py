"""The attributes of requests to language models, by OpenTelemetry's conventions for generative AI.

What a request says is read while its body is there, of recorded requests alone. Prompts and answers are never among
the attributes.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from ..payload import Body, Payload
from .span import Attributes

# OpenAI's paths, behind which the handlers of language models answer on TorchServe's own paths, too.
OPERATIONS: Final = {
    "v1/chat/completions": "chat",
    "v1/completions": "text_completion",
    "v1/embeddings": "embeddings",
}
MOST_READ: Final = 1 << 20  # bytes of a body that is looked through
_LONGEST: Final = 200  # characters of a text


class _Asked(msgspec.Struct):
    """The fields of a request that become attributes, of any type: the handler refuses what is wrong."""

    model: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    temperature: Any = None
    top_p: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None
    seed: Any = None
    n: Any = None
    stream: Any = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Answered(msgspec.Struct):
    """The fields of an answer that become attributes."""

    id: str = ""
    model: str = ""
    choices: list[_Choice] = []
    usage: _Usage | None = None


_ASKED: Final = msgspec.json.Decoder(_Asked)
_ANSWERED: Final = msgspec.json.Decoder(_Answered)
_NUMBERS: Final = {
    "temperature": "temperature",
    "top_p": "top_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
}
_WHOLE: Final = {"seed": "seed", "n": "choice.count"}


def asked_of(payload: Payload) -> dict[str, Any] | None:
    """Return the attributes of what a request asks of a language model, None if it is no such request."""
    operation = OPERATIONS.get(payload.headers.get("url_path", ""))
    if operation is None or not payload.parts:
        return None
    found: dict[str, Any] = {"gen_ai.operation.name": operation, "gen_ai.provider.name": "torchserve"}
    body = payload.parts[0].body
    if len(body) > MOST_READ:
        return found
    try:
        asked = _ASKED.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return found
    if isinstance(asked.model, str):
        found["gen_ai.request.model"] = asked.model[:_LONGEST]
    most = asked.max_tokens if asked.max_completion_tokens is None else asked.max_completion_tokens
    if _is_whole(most):
        found["gen_ai.request.max_tokens"] = most
    for field, name in _NUMBERS.items():
        value = getattr(asked, field)
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[f"gen_ai.request.{name}"] = float(value)
    for field, name in _WHOLE.items():
        if _is_whole(value := getattr(asked, field)):
            found[f"gen_ai.request.{name}"] = value
    if asked.stream is True:
        found["gen_ai.request.stream"] = True
    return found


def answered_with(body: Body) -> dict[str, Any]:
    """Return the attributes of a whole answer in OpenAI's format; none if it has another one."""
    try:
        answer = _ANSWERED.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    found: dict[str, Any] = {}
    if answer.id:
        found["gen_ai.response.id"] = answer.id[:_LONGEST]
    if answer.model:
        found["gen_ai.response.model"] = answer.model[:_LONGEST]
    if reasons := [each.finish_reason[:_LONGEST] for each in answer.choices[:16] if each.finish_reason]:
        found["gen_ai.response.finish_reasons"] = reasons
    if answer.usage is not None:
        found |= usage(answer.usage.prompt_tokens, answer.usage.completion_tokens)
    return found


def usage(prompt: int, generated: int) -> Attributes:
    """Return the attributes of how many tokens a request had and got."""
    return {"gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": generated}


def _is_whole(value: object) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63
