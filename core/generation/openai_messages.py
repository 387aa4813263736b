"""The messages and tools of a chat in OpenAI's format, checked, in the form that chat templates take them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from .openai_fields import Refused, flag, object_of, sound

MOST_TOOLS = 128  # of a request, and calls of a message, as at OpenAI
MOST_TOOL_BYTES = 1 << 18  # of all tools as JSON
_ROLES = frozenset(("system", "developer", "user", "assistant", "tool"))
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Tools:
    """The functions that a model may call: by name the schema of their arguments, and `told` as the template is told.

    `choice` is `auto`, `required`, or the name of the one to call. With `parallel` several may be called at once.
    """

    schemas: Mapping[str, Mapping[str, Any]]
    told: Sequence[Mapping[str, Any]]
    choice: str = "auto"
    parallel: bool = True


def read_messages(messages: Any) -> tuple[Mapping[str, Any], ...]:
    """Return the messages of a chat. Raises Refused."""
    if not isinstance(messages, list) or not messages:
        raise Refused("'messages' must be a list with at least one message.", "messages")
    return tuple(_message(each, f"messages[{index}]") for index, each in enumerate(messages))


def read_tools(body: Mapping[str, Any]) -> Tools | None:
    """Return the tools that may be called; None without any, or if none may be. Raises Refused."""
    given = body.get("tools")
    if given is None or given == []:
        if body.get("tool_choice") not in (None, "none", "auto"):
            raise Refused("'tool_choice' wants a tool to be called, and there are no 'tools'.", "tool_choice")
        return None
    if not isinstance(given, list) or len(given) > MOST_TOOLS:
        raise Refused(f"'tools' must be a list of at most {MOST_TOOLS} tools.", "tools")
    try:
        size = len(orjson.dumps(given))
    except (TypeError, ValueError) as error:  # too deep, or a text with a lone surrogate
        raise Refused(f"'tools' can't be written as JSON: {error}", "tools") from None
    if size > MOST_TOOL_BYTES:
        raise Refused(f"'tools' has {size} bytes as JSON, more than {MOST_TOOL_BYTES}.", "tools")
    schemas = dict(_tool(each, f"tools[{index}]") for index, each in enumerate(given))
    choice = _choice(body.get("tool_choice"), schemas)
    return None if choice == "none" else Tools(schemas, given, choice, flag(body, "parallel_tool_calls", default=True))


def _tool(tool: Any, where: str) -> tuple[str, Mapping[str, Any]]:
    function = object_of(tool, where).get("function")
    if tool.get("type") != "function" or not isinstance(function, dict):
        raise Refused(f"'{where}' must be of type 'function', with a 'function'.", where)
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise Refused(f"'{where}.function.name' must have 1 to 64 letters, digits, '_' or '-'.", where)
    schema = function.get("parameters")
    return name, {"type": "object"} if schema is None else object_of(schema, f"{where}.function.parameters")


def _choice(choice: Any, schemas: Mapping[str, Any]) -> str:
    if choice in (None, "auto", "none", "required"):
        return choice or "auto"
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or name not in schemas:
        raise Refused("'tool_choice' must be 'none', 'auto', 'required', or name one of 'tools'.", "tool_choice")
    return name


def _message(message: Any, where: str) -> Mapping[str, Any]:
    message = object_of(message, where)
    role = message.get("role")
    if role not in _ROLES:
        raise Refused(f"'{where}.role' must be one of {', '.join(sorted(_ROLES))}.", f"{where}.role")
    calls = message.get("tool_calls")
    content = message.get("content")
    if role != "assistant" or calls in (None, []):
        return {**_without(message, "tool_calls"), "content": _content(content, f"{where}.content")}
    if not isinstance(calls, list) or len(calls) > MOST_TOOLS:
        raise Refused(f"'{where}.tool_calls' must be a list of at most {MOST_TOOLS} calls.", f"{where}.tool_calls")
    said = "" if content is None else _content(content, f"{where}.content")
    read = [_call(each, f"{where}.tool_calls[{index}]") for index, each in enumerate(calls)]
    return {**message, "content": said, "tool_calls": read}


def _without(message: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return {key: value for key, value in message.items() if key != name}


def _call(call: Any, where: str) -> Mapping[str, Any]:
    """Return a call with its arguments as an object, which is how templates write them."""
    function = object_of(call, where).get("function")
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise Refused(f"'{where}' must have a function with a name.", where)
    arguments = function.get("arguments", "{}")
    if isinstance(arguments, str):
        try:
            arguments = orjson.loads(arguments)
        except (orjson.JSONDecodeError, UnicodeEncodeError):
            raise Refused(f"'{where}.function.arguments' is not JSON.", where) from None
    return {**call, "function": {**function, "arguments": arguments}}


def _content(content: Any, where: str) -> str:
    """Return the text of a message: a string, or parts of type `text`."""
    if isinstance(content, str):
        return sound(content, where)
    if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
        for part in content:
            if part.get("type") != "text" or not isinstance(part.get("text"), str):
                raise Refused(f"'{where}' may have parts of type 'text' only.", where, "unsupported_parameter")
        return sound("".join(part["text"] for part in content), where)
    raise Refused(f"'{where}' must be a text, or a list of parts of type 'text'.", where)
