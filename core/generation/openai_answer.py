"""The JSON objects of OpenAI's answers: whole ones, and the events of a streamed one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import msgspec
import orjson

from .tool_calls import ToolCall

LAST_EVENT = b"data: [DONE]\n\n"
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]

_BEHIND_CHAT = b'},"finish_reason":null}]}\n\n'
_BEHIND_COMPLETION = b',"logprobs":null,"finish_reason":null}]}\n\n'


class Piece(msgspec.Struct, frozen=True):
    """A part of a sequence. `reason` says why no more comes; `calls` begin with number `first_call`."""

    text: str
    reason: FinishReason | None
    calls: Sequence[ToolCall] = ()
    first_call: int = 0
    logprobs: Any = None


class Answering:
    """The answer to one request. `created` is in Unix seconds."""

    def __init__(self, request_id: str, model: str, created: int, *, chat: bool) -> None:
        self.request_id = request_id
        self._chat = chat
        kind = "chat.completion" if chat else "text_completion"
        prefix = "chatcmpl" if chat else "cmpl"
        self._shared = {"id": f"{prefix}-{request_id}", "object": kind, "created": created, "model": model}
        event = {**self._shared, "object": f"{kind}.chunk" if chat else kind}
        # Most events carry one piece of text and nothing else: they are put together of bytes that are made once.
        self._head = b"data: " + orjson.dumps(event)[:-1] + b',"choices":['
        self._before_text: dict[int, bytes] = {}  # by choice: what such an event has ahead of its text
        self._behind_text = _BEHIND_CHAT if chat else _BEHIND_COMPLETION

    def whole(self, choices: Sequence[Piece], usage: dict[str, int] | None) -> bytes:
        """Return the body of a whole answer with these choices, and the usage if it is known."""
        made = [self._choice(index, choice) for index, choice in enumerate(choices)]
        return orjson.dumps({**self._shared, "choices": made, **({"usage": usage} if usage else {})})

    def first(self, index: int) -> bytes:
        """Return the event that opens choice `index`: b"" for completions, which have none."""
        if not self._chat:
            return b""
        delta = {"role": "assistant", "content": ""}
        return self._event({"index": index, "delta": delta, "finish_reason": None})

    def piece(self, index: int, piece: Piece) -> bytes:
        """Return the event with the next piece of choice `index`."""
        if piece.text and not (piece.calls or piece.reason or piece.logprobs):
            before = self._before_text.get(index) or self._begin_text(index)
            return before + orjson.dumps(piece.text) + self._behind_text
        if not self._chat:
            found = {"index": index, "text": piece.text, "logprobs": piece.logprobs, "finish_reason": piece.reason}
            return self._event(found)
        delta: dict[str, Any] = {"content": piece.text} if piece.text else {}
        if piece.calls:
            delta["tool_calls"] = [
                {"index": at, **self._call(index, at, call)} for at, call in enumerate(piece.calls, piece.first_call)
            ]
        more = {"logprobs": piece.logprobs} if piece.logprobs else {}
        return self._event({"index": index, "delta": delta, **more, "finish_reason": piece.reason})

    def _begin_text(self, index: int) -> bytes:
        key = b'"delta":{"content"' if self._chat else b'"text"'
        before = self._before_text[index] = b'%b{"index":%d,%b:' % (self._head, index, key)
        return before

    def usage(self, usage: dict[str, int]) -> bytes:
        """Return the event that tells the usage, behind all others but the last."""
        return b'%b],"usage":%b}\n\n' % (self._head, orjson.dumps(usage))

    def _choice(self, index: int, piece: Piece) -> dict[str, Any]:
        told = {"logprobs": piece.logprobs, "finish_reason": piece.reason}
        if not self._chat:
            return {"index": index, "text": piece.text, **told}
        message: dict[str, Any] = {"role": "assistant", "content": piece.text, "refusal": None}
        if piece.calls:
            message["content"] = piece.text or None
            message["tool_calls"] = [self._call(index, at, call) for at, call in enumerate(piece.calls)]
        return {"index": index, "message": message, **told}

    def _call(self, index: int, number: int, call: ToolCall) -> dict[str, Any]:
        function = {"name": call.name, "arguments": call.arguments}
        return {"id": f"call_{self.request_id}-{index}-{number}", "type": "function", "function": function}

    def _event(self, choice: dict[str, Any]) -> bytes:
        return b"%b%b]}\n\n" % (self._head, orjson.dumps(choice))


def usage_of(prompt: int, completion: int) -> dict[str, int]:
    """Return OpenAI's usage object for so many tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
