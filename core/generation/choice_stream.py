"""ChoiceStream: what comes of one sequence, from its tokens: text, calls of tools, and probabilities of tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .engine import Progress, TokenLogprob
from .openai_answer import FinishReason, Piece
from .text_stream import TextStream
from .tool_calls import ToolCall, ToolCallStream


class ChoiceStream:
    """A sequence of an answer. With `tools`, calls are taken out of its text; `told` writes probabilities."""

    def __init__(
        self, decode: Callable[[Sequence[int]], str], stops: Sequence[str], tools: ToolCallStream | None = None,
        told: Logprobs | None = None,
    ) -> None:  # fmt: skip
        self._stream = TextStream(decode, stops)
        self._tools = tools
        self._told = told
        self._pieces: list[str] = []
        self._all_logprobs: list[Any] = []
        self._logged = 0  # the tokens before it have been told
        self.count = 0

    def add(self, news: Progress) -> Piece:
        """Return what is certain of the sequence so far beyond what was returned before."""
        stream = self._stream
        text = stream.finish(news.tokens) if news.finished else stream.add(news.tokens)
        reason: FinishReason | None = "stop" if stream.stopped else news.finished
        calls: list[ToolCall] = []
        begun = len(self._tools.calls) if self._tools else 0
        if self._tools is not None:
            text, calls = self._tools.add(text, last=reason is not None)
            if reason == "stop" and self._tools.calls:
                reason = "tool_calls"
        if text:
            self._pieces.append(text)
        told = None
        if self._told is not None and (text or calls or reason):
            told = self._told.write(news.tokens, news.logprobs, self._logged)
            self._all_logprobs.append(told)
            self._logged = len(news.tokens)
        self.count = len(news.tokens)
        return Piece(text, reason, calls, begun, told)

    def whole(self, reason: FinishReason) -> Piece:
        """Return all of it."""
        calls = self._tools.calls if self._tools else ()
        told = self._told.join(self._all_logprobs) if self._told else None
        return Piece("".join(self._pieces), reason, calls, 0, told)


class Logprobs:
    """A writer of the probabilities of tokens as OpenAI's objects, those of chats or of completions."""

    def __init__(self, decode: Callable[[Sequence[int]], str], *, chat: bool) -> None:
        self._decode = decode
        self._chat = chat
        self._offset = 0

    def write(self, tokens: Sequence[int], logprobs: Sequence[TokenLogprob], begin: int) -> dict[str, Any]:
        """Return the object for the tokens from `begin` on."""
        told = list(zip(tokens, logprobs, strict=False))[begin:]
        if self._chat:
            return {
                "content": [
                    {**self._one(token, each.logprob), "top_logprobs": [self._one(*one) for one in each.likeliest]}
                    for token, each in told
                ]
            }
        texts = [self._decode([token]) for token, _ in told]
        offsets: list[int] = []
        for text in texts:
            offsets.append(self._offset)
            self._offset += len(text)
        return {
            "tokens": texts,
            "token_logprobs": [each.logprob for _, each in told],
            "top_logprobs": [{self._decode([token]): value for token, value in each.likeliest} for _, each in told],
            "text_offset": offsets,
        }

    def join(self, objects: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return one object for all of them."""
        if not objects:
            return self.write((), (), 0)
        return {name: [each for one in objects for each in one[name]] for name in objects[0]}

    def _one(self, token: int, logprob: float) -> dict[str, Any]:
        text = self._decode([token])
        return {"token": text, "logprob": logprob, "bytes": None if "\ufffd" in text else list(text.encode())}
