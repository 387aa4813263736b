"""What a body in OpenAI's format asks a language model for, checked. Fields that nothing here can do are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from .engine import Sampling

MOST_STOPS = 16
LONGEST_STOP = 1024  # characters
MOST_INPUTS = 2048  # texts of one request for embeddings, as at OpenAI
_ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))
# A field of these with another value than those listed asks for what no engine here does.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "logprobs": (None, False, 0),
    "top_logprobs": (None, 0),
    "echo": (None, False),
    "suffix": (None, ""),
    "best_of": (None, 1),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "logit_bias": (None, {}),
    "tools": (None, []),
    "functions": (None, []),
    "tool_choice": (None, "none", "auto"),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
}


class Refused(Exception):
    """A refusal of a request: OpenAI's message, and the parameter and the code that clients may look at."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status

    def body(self) -> dict[str, Any]:
        """Return OpenAI's error object."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def written(self) -> bytes:
        """Return OpenAI's error object as JSON."""
        return orjson.dumps(self.body())


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request for text. Of `messages` and `prompts` one is empty; a prompt is a text or its tokens.

    `max_tokens` is None if the client leaves it to the model's context. `number` sequences are wanted of each prompt.
    """

    messages: tuple[Mapping[str, Any], ...] = ()
    prompts: tuple[str | tuple[int, ...], ...] = ()
    max_tokens: int | None = None
    temperature: float = 1.0
    top_p: float = 1.0
    number: int = 1
    stops: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False

    def sampling(self, prompt: int, context: int) -> Sampling:
        """Return how to sample after a prompt of so many tokens, in a context of so many. Raises Refused."""
        room = context - prompt
        if room < 1:
            raise Refused(
                f"This model's maximum context length is {context} tokens. However, your prompt has {prompt} tokens."
                " Please reduce its length.",
                "messages" if self.messages else "prompt", "context_length_exceeded",
            )  # fmt: skip
        wanted = self.max_tokens if self.max_tokens is not None else room
        if wanted > room:
            raise Refused(
                f"This model's maximum context length is {context} tokens. However, you requested {prompt + wanted}"
                f" tokens ({prompt} in the prompt, {wanted} in the completion).",
                "max_tokens", "context_length_exceeded",
            )  # fmt: skip
        return Sampling(wanted, self.temperature, self.top_p)


def body_of(row: Mapping[str, Any]) -> Any:
    """Return the body of a handler's row, parsed if the server has not done that. Raises Refused."""
    body = row.get("body", row.get("data"))
    if isinstance(body, (bytes, bytearray, memoryview, str)):
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Refused(f"The body is not JSON: {error}") from None
    return body


def read_chat(body: Any, most: int) -> GenerationRequest:
    """Read the body of a chat completion; `most` sequences may be asked for. Raises Refused."""
    body = _object(body)
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused("'messages' must be a list with at least one message.", "messages")
    return _read(body, most, messages=tuple(_message(each, index) for index, each in enumerate(messages)))


def read_completion(body: Any, most: int) -> GenerationRequest:
    """Read the body of a completion; `most` sequences may be asked for. Raises Refused."""
    body = _object(body)
    prompt = body.get("prompt")
    if isinstance(prompt, str) or _is_tokens(prompt):
        prompts: Sequence[Any] = [prompt]
    elif isinstance(prompt, list) and prompt and all(isinstance(each, str) or _is_tokens(each) for each in prompt):
        prompts = prompt
    else:
        raise Refused("'prompt' must be a text, a list of texts, tokens, or a list of those, and not empty.", "prompt")
    found = tuple(_sound(each, "prompt") if isinstance(each, str) else tuple(each) for each in prompts)
    return _read(body, most, prompts=found, usual_tokens=16)


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """A request for the vectors of `inputs`, each a text or its tokens, as numbers or in `base64`.

    `dimensions` is None if the client leaves the length of a vector to the model.
    """

    inputs: tuple[str | tuple[int, ...], ...]
    base64: bool = False
    dimensions: int | None = None


def read_embeddings(body: Any) -> EmbeddingRequest:
    """Read the body of a request for embeddings. Raises Refused."""
    body = _object(body)
    given = body.get("input")
    inputs = [given] if isinstance(given, str) or _is_tokens(given) else given
    if (
        not isinstance(inputs, list)
        or not inputs
        or not all(each and (isinstance(each, str) or _is_tokens(each)) for each in inputs)
    ):
        raise Refused("'input' must be a text, a list of texts, tokens, or a list of those, and none empty.", "input")
    if len(inputs) > MOST_INPUTS:
        raise Refused(f"'input' has {len(inputs)} texts, more than {MOST_INPUTS}.", "input")
    encoding = body.get("encoding_format")
    if encoding not in (None, "float", "base64"):
        raise Refused("'encoding_format' must be 'float' or 'base64'.", "encoding_format")
    return EmbeddingRequest(
        tuple(_sound(each, "input") if isinstance(each, str) else tuple(each) for each in inputs),
        encoding == "base64",
        _count(body, "dimensions", None, 2**31 - 1),
    )


def _read(
    body: Mapping[str, Any], most: int, *, messages: tuple[Mapping[str, Any], ...] = (),
    prompts: tuple[str | tuple[int, ...], ...] = (), usual_tokens: int | None = None,
) -> GenerationRequest:  # fmt: skip
    for name, neutral in _NEUTRAL.items():
        if body.get(name) not in neutral:
            raise Refused(f"'{name}' is not supported by this model's engine.", name, "unsupported_parameter")
    temperature = _number(body, "temperature", 1.0, 0.0, 2.0)
    if body.get("seed") is not None and temperature > 0:
        raise Refused(
            "'seed' is not supported by this model's engine, which draws for all its requests together; with"
            " 'temperature' 0 the answer is always the same.", "seed", "unsupported_parameter",
        )  # fmt: skip
    number = _count(body, "n", 1, most)
    if number * max(len(prompts), 1) > most:
        raise Refused(f"The request asks for {number * len(prompts)} sequences, more than {most}.", "n")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise Refused("'stream_options' must be an object.", "stream_options")
    given = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    return GenerationRequest(
        messages=messages,
        prompts=prompts,
        max_tokens=_count(body, given, usual_tokens, 2**31 - 1),
        temperature=temperature,
        top_p=_number(body, "top_p", 1.0, 1e-6, 1.0),
        number=number or 1,
        stops=_stops(body.get("stop")),
        stream=_flag(body, "stream"),
        include_usage=_flag(options or {}, "include_usage"),
    )


def _object(body: Any) -> Mapping[str, Any]:
    if not isinstance(body, dict):
        raise Refused("The body must be a JSON object.")
    return body


def _message(message: Any, index: int) -> Mapping[str, Any]:
    where = f"messages[{index}]"
    if not isinstance(message, dict):
        raise Refused(f"'{where}' must be an object.", where)
    role = message.get("role")
    if role not in _ROLES:
        raise Refused(f"'{where}.role' must be one of {', '.join(sorted(_ROLES))}.", f"{where}.role")
    return {**message, "content": _content(message.get("content"), f"{where}.content")}


def _content(content: Any, where: str) -> str:
    """Return the text of a message: a string, or parts of type `text`."""
    if isinstance(content, str):
        return _sound(content, where)
    if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
        for part in content:
            if part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise Refused(f"'{where}' may have parts of type 'text' only.", where, "unsupported_parameter")
        return _sound("".join(part["text"] for part in content), where)
    raise Refused(f"'{where}' must be a text, or a list of parts of type 'text'.", where)


def _sound(text: str, where: str) -> str:
    try:
        _ = text.encode()
    except UnicodeEncodeError:
        raise Refused(f"'{where}' has a lone surrogate, which is no character.", where) from None
    return text


def _is_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(each) is int and each >= 0 for each in value)


def _stops(value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value if value is not None else []
    if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
        raise Refused("'stop' must be a text, or a list of texts, none of them empty.", "stop")
    if len(found) > MOST_STOPS:
        raise Refused(f"'stop' has {len(found)} texts, more than {MOST_STOPS}.", "stop")
    if any(len(each) > LONGEST_STOP for each in found):
        raise Refused(f"A text of 'stop' has more than {LONGEST_STOP} characters.", "stop")
    return tuple(found)


def _number(body: Mapping[str, Any], name: str, default: float, low: float, high: float) -> float:
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise Refused(f"'{name}' must be a number from {low:g} to {high:g}.", name)
    return float(value)


def _count(body: Mapping[str, Any], name: str, default: Any, most: int) -> Any:
    value = body.get(name)
    if value is None:
        return default
    if type(value) is not int or not 1 <= value <= most:
        raise Refused(f"'{name}' must be a whole number from 1 to {most}.", name)
    return value


def _flag(body: Mapping[str, Any], name: str) -> bool:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise Refused(f"'{name}' must be true or false.", name)
    return bool(value)
