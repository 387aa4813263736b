"""stream_tokens: sends the pieces of a text to the client as a generator makes them, for handlers of any kind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Coroutine, Iterable
from typing import Any, Literal, TypeAlias, TypeVar, overload

from ..generation.openai_answer import LAST_EVENT, Answering, Piece
from .context import Context

Form: TypeAlias = Literal["text", "openai"]
_T = TypeVar("_T")


@overload
def stream_tokens(
    tokens: AsyncIterable[Any], context: Context, form: Form = ..., *, stream: bool = ...
) -> Coroutine[Any, Any, list[Any]]: ...
@overload
def stream_tokens(tokens: Iterable[Any], context: Context, form: Form = ..., *, stream: bool = ...) -> list[Any]: ...
def stream_tokens(tokens: Any, context: Context, form: Form = "text", *, stream: bool = True) -> Any:
    """Send each piece of text that `tokens` yields to the client at once, and return what `handle` is to return.

    A piece is a text or, for a batch, a list with a text or `{"text": …}` for each request, such as transformers'
    TextIteratorStreamer and TorchServe's TextIteratorStreamerBatch yield. Of an async iterable the result is to be
    awaited. In the form `openai` clients get OpenAI's events, of a chat or of a completion by the path that was asked.
    Without `stream` nothing is sent ahead, and the whole answer is returned in the same form.

    Raises ValueError for a list whose length is not that of the batch, and outside of a batch.
    """
    sending = _Sending(context, form, stream=stream)
    if isinstance(tokens, AsyncIterable):
        return _send_async(tokens, sending)
    for each in tokens:
        sending.add(each)
    return sending.end()


async def in_background(tokens: Iterable[_T]) -> AsyncIterator[_T]:
    """Yield what `tokens` yields; another thread waits for it, so that the loop of an async handler goes on."""
    iterator, over = iter(tokens), object()
    while (each := await asyncio.to_thread(next, iterator, over)) is not over:
        yield each  # pyright: ignore[reportReturnType]  it is not `over`


async def _send_async(tokens: AsyncIterable[Any], sending: _Sending) -> list[Any]:
    async for each in tokens:
        sending.add(each)
    return sending.end()


class _Sending:
    """The answers to the requests of a batch, on their way."""

    def __init__(self, context: Context, form: Form, *, stream: bool) -> None:
        if context.send_partial is None or not context.request_ids:
            raise ValueError("stream_tokens needs the context that a running batch was given")
        self._send = context.send_partial
        self._stream = stream
        self._count = len(context.request_ids)
        self._whole = [""] * self._count
        self._answers = [_answering(context, index) for index in range(self._count)] if form == "openai" else []
        self._begun = False
        if self._answers:
            for index in range(self._count):
                kind = "text/event-stream; charset=utf-8" if stream else "application/json"
                context.set_response_content_type(index, kind)

    def add(self, item: Any) -> None:
        pieces = [_text(each) for each in item] if isinstance(item, list | tuple) else [_text(item)]
        if len(pieces) != self._count:
            raise ValueError(f"{len(pieces)} pieces of text for a batch of {self._count}")
        if not self._stream:
            self._whole = [before + piece for before, piece in zip(self._whole, pieces, strict=True)]
        elif not self._answers:
            if any(pieces):
                self._send(pieces, 200)
        else:
            told = [
                (b"" if self._begun else answer.first(0)) + (answer.piece(0, Piece(piece, None)) if piece else b"")
                for answer, piece in zip(self._answers, pieces, strict=True)
            ]
            self._begun = True
            if any(told):
                self._send(told, 200)

    def end(self) -> list[Any]:
        """Return the last pieces, or the whole answers."""
        if not self._answers:
            return self._whole
        if not self._stream:
            texts = zip(self._answers, self._whole, strict=True)
            return [answer.whole([Piece(text, "stop")], None) for answer, text in texts]
        return [answer.piece(0, Piece("", "stop")) + LAST_EVENT for answer in self._answers]


def _answering(context: Context, index: int) -> Answering:
    path = str(context.get_request_header(index, "url_path") or "")
    chat = path.strip("/") != "v1/completions"
    return Answering(context.get_request_id(index) or "", context.model_name, int(time.time()), chat=chat)


def _text(piece: Any) -> str:
    if isinstance(piece, dict):
        piece = piece.get("text")
    if piece is None:
        return ""
    if not isinstance(piece, str):
        raise TypeError(f"a piece of text must be a str, not {type(piece).__name__}")
    return piece
