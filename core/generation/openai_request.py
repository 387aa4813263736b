"""What a body in OpenAI's format asks a language model for, checked. Fields that nothing here can do are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from .engine import Constraint, Sampling
from .openai_fields import Refused, flag, is_tokens, number, object_of, sound, whole
from .openai_messages import Tools, read_messages, read_tools

MOST_STOPS = 16
LONGEST_STOP = 1024  # characters
MOST_LOGPROBS = 20  # likeliest tokens at each place, as at OpenAI
MOST_BIASES = 1024  # tokens
MOST_SCHEMA_BYTES = 1 << 16
_ANY_OBJECT: Mapping[str, Any] = {"type": "object"}
# A field of these with another value than those listed asks for what no engine here does.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "echo": (None, False),
    "suffix": (None, ""),
    "best_of": (None, 1),
    "functions": (None, []),
    "function_call": (None, "none"),
    "modalities": (None, ["text"]),
    "audio": (None,),
    "prediction": (None,),
}


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request for text. Of `messages` and `prompts` one is empty; a prompt is a text or its tokens.

    `max_tokens` is None if the client leaves it to the model's context. `number` sequences are wanted of each prompt.
    With a `schema` the text is to be JSON that fits it.
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
    seed: int | None = None
    logprobs: int | None = None
    presence: float = 0.0
    frequency: float = 0.0
    bias: Mapping[int, float] = field(default_factory=dict)
    schema: Mapping[str, Any] | None = None
    tools: Tools | None = None

    def room(self, prompt: int, context: int) -> int:
        """Return how many tokens to generate after a prompt of so many, in a context of so many. Raises Refused."""
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
        return wanted

    def sampling(self, room: int, index: int = 0, constraint: Constraint | None = None) -> Sampling:
        """Return how to choose the `room` tokens of the request's sequence `index`, each of which has its own seed."""
        seed = None if self.seed is None else (self.seed + index) % 2**63
        return Sampling(
            room,
            self.temperature,
            self.top_p,
            seed,
            self.logprobs,
            self.presence,
            self.frequency,
            self.bias,
            constraint,
        )


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
    body = object_of(body)
    told = whole(body, "top_logprobs", 0, MOST_LOGPROBS, 0)
    if told and not flag(body, "logprobs"):
        raise Refused("'top_logprobs' needs 'logprobs' to be true.", "top_logprobs")
    schema, tools = _schema(body.get("response_format")), read_tools(body)
    if schema is not None and tools is not None and tools.choice != "auto":
        raise Refused("'response_format' can't be kept to where 'tool_choice' wants a call.", "response_format")
    return _read(
        body, most, messages=read_messages(body.get("messages")), logprobs=told if flag(body, "logprobs") else None,
        schema=schema, tools=tools,
    )  # fmt: skip


def read_completion(body: Any, most: int) -> GenerationRequest:
    """Read the body of a completion; `most` sequences may be asked for. Raises Refused."""
    body = object_of(body)
    prompt = body.get("prompt")
    if isinstance(prompt, str) or is_tokens(prompt):
        prompts: Sequence[Any] = [prompt]
    elif isinstance(prompt, list) and prompt and all(isinstance(each, str) or is_tokens(each) for each in prompt):
        prompts = prompt
    else:
        raise Refused("'prompt' must be a text, a list of texts, tokens, or a list of those, and not empty.", "prompt")
    told = None if body.get("logprobs") is False else whole(body, "logprobs", None, MOST_LOGPROBS, 0)
    found = tuple(sound(each, "prompt") if isinstance(each, str) else tuple(each) for each in prompts)
    return _read(body, most, prompts=found, logprobs=told, schema=_schema(body.get("response_format")), usual_tokens=16)


def _read(body: Mapping[str, Any], most: int, *, usual_tokens: int | None = None, **read: Any) -> GenerationRequest:
    for name, neutral in _NEUTRAL.items():
        if body.get(name) not in neutral:
            raise Refused(f"'{name}' is not supported by this model's engine.", name, "unsupported_parameter")
    count = whole(body, "n", 1, most)
    prompts = len(read.get("prompts", ()))
    if count * max(prompts, 1) > most:
        raise Refused(f"The request asks for {count * prompts} sequences, more than {most}.", "n")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise Refused("'stream_options' must be an object.", "stream_options")
    given = "max_completion_tokens" if body.get("max_completion_tokens") is not None else "max_tokens"
    return GenerationRequest(
        max_tokens=whole(body, given, usual_tokens, 2**31 - 1),
        temperature=number(body, "temperature", 1.0, 0.0, 2.0),
        top_p=number(body, "top_p", 1.0, 1e-6, 1.0),
        number=count,
        stops=_stops(body.get("stop")),
        stream=flag(body, "stream"),
        include_usage=flag(options or {}, "include_usage"),
        seed=whole(body, "seed", None, 2**63 - 1, -(2**63)),
        presence=number(body, "presence_penalty", 0.0, -2.0, 2.0),
        frequency=number(body, "frequency_penalty", 0.0, -2.0, 2.0),
        bias=_bias(body.get("logit_bias")),
        **read,
    )


def _stops(value: Any) -> tuple[str, ...]:
    found = [value] if isinstance(value, str) else value if value is not None else []
    if not isinstance(found, list) or not all(isinstance(each, str) and each for each in found):
        raise Refused("'stop' must be a text, or a list of texts, none of them empty.", "stop")
    if len(found) > MOST_STOPS:
        raise Refused(f"'stop' has {len(found)} texts, more than {MOST_STOPS}.", "stop")
    if any(len(each) > LONGEST_STOP for each in found):
        raise Refused(f"A text of 'stop' has more than {LONGEST_STOP} characters.", "stop")
    return tuple(found)


def _bias(value: Any) -> Mapping[int, float]:
    if value is None:
        return {}
    wrong = Refused(f"'logit_bias' must map at most {MOST_BIASES} tokens to numbers from -100 to 100.", "logit_bias")
    if not isinstance(value, dict) or len(value) > MOST_BIASES:
        raise wrong
    if not all(isinstance(key, str) and key.isascii() and key.isdigit() and len(key) < 10 for key in value):
        raise wrong
    return {int(key): number({"logit_bias": bias}, "logit_bias", 0.0, -100.0, 100.0) for key, bias in value.items()}


def _schema(form: Any) -> Mapping[str, Any] | None:
    """Return the schema of the JSON that is wanted; None for plain text. Raises Refused."""
    if form is None:
        return None
    kind = object_of(form, "response_format").get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return _ANY_OBJECT
    if kind != "json_schema":
        raise Refused("'response_format.type' must be 'text', 'json_object' or 'json_schema'.", "response_format")
    schema = object_of(form.get("json_schema"), "response_format").get("schema")
    schema = _ANY_OBJECT if schema is None else object_of(schema, "response_format")
    try:
        size = len(orjson.dumps(schema))
    except (TypeError, ValueError) as error:
        raise Refused(f"'response_format' can't be written as JSON: {error}", "response_format") from None
    if size > MOST_SCHEMA_BYTES:
        raise Refused(f"The schema has {size} bytes as JSON, more than {MOST_SCHEMA_BYTES}.", "response_format")
    return schema
