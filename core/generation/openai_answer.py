"""The JSON objects of OpenAI's answers: whole ones, and the events of a streamed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from .engine import FinishReason

LAST_EVENT = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Answering:
    """The fields that all objects of one answer share. `created` is in Unix seconds."""

    request_id: str
    model: str
    created: int
    chat: bool

    def whole(self, choices: Sequence[tuple[str, FinishReason]], usage: dict[str, int]) -> bytes:
        """Return the body of a whole answer with these texts."""
        made = [self._choice(index, text, reason) for index, (text, reason) in enumerate(choices)]
        name = "chat.completion" if self.chat else "text_completion"
        return orjson.dumps({**self._common(name), "choices": made, "usage": usage})

    def first(self, index: int) -> bytes:
        """Return the event that opens choice `index`: b"" for completions, which have none."""
        if not self.chat:
            return b""
        return self._event([{"index": index, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}])

    def piece(self, index: int, text: str, reason: FinishReason | None) -> bytes:
        """Return the event with the next piece of choice `index`, and why it ends, if it does."""
        if not self.chat:
            return self._event([{"index": index, "text": text, "logprobs": None, "finish_reason": reason}])
        delta = {"content": text} if text else {}
        return self._event([{"index": index, "delta": delta, "finish_reason": reason}])

    def usage(self, usage: dict[str, int]) -> bytes:
        """Return the event that tells the usage, behind all others but the last."""
        return self._event([], usage=usage)

    def _choice(self, index: int, text: str, reason: FinishReason) -> dict[str, Any]:
        if self.chat:
            message = {"role": "assistant", "content": text, "refusal": None}
            return {"index": index, "message": message, "logprobs": None, "finish_reason": reason}
        return {"index": index, "text": text, "logprobs": None, "finish_reason": reason}

    def _common(self, name: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.chat else "cmpl"
        return {"id": f"{prefix}-{self.request_id}", "object": name, "created": self.created, "model": self.model}

    def _event(self, choices: list[dict[str, Any]], **more: Any) -> bytes:
        name = "chat.completion.chunk" if self.chat else "text_completion"
        return b"data: %b\n\n" % orjson.dumps({**self._common(name), "choices": choices, **more})


def usage_of(prompt: int, completion: int) -> dict[str, int]:
    """Return OpenAI's usage object for so many tokens."""
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
