"""Pieces of text on their way to clients: at once, in each form, of plain and async generators, for one and for many."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from torchserve.core.handlers.context import Context, RequestProcessor
from torchserve.core.handlers.token_streaming import in_background, stream_tokens


class Batch:
    """A context of a running batch that keeps what is sent."""

    def __init__(self, count: int = 1, path: str = "v1/chat/completions") -> None:
        self.context = Context("m", ".", {}, count, None, "0")
        self.context.request_ids = {index: f"r{index}" for index in range(count)}
        self.context.request_processor = [RequestProcessor({"url_path": path}) for _ in range(count)]
        self.sent: list[list[Any]] = []
        self.context.send_partial = lambda elements, _code: self.sent.append(list(elements))

    def whole(self, last: list[Any], index: int = 0) -> Any:
        parts = [elements[index] for elements in [*self.sent, last]]
        return b"".join(parts) if isinstance(parts[-1], bytes) else "".join(parts)


async def slowly(*pieces: Any) -> AsyncIterator[Any]:
    for piece in pieces:
        yield piece


def test_text_is_sent_piece_by_piece() -> None:
    batch = Batch()
    told = []

    def generate() -> Any:
        for piece in ("a ", "", "b"):
            yield piece
            told.append(len(batch.sent))

    assert stream_tokens(generate(), batch.context) == [""]
    assert batch.sent == [["a "], ["b"]]
    assert told == [1, 1, 2], "each before the next is made"


def test_a_batch_as_torchserve_s_streamer_yields_it() -> None:
    batch = Batch(2)
    last = stream_tokens([[{"text": "a"}, {"text": "x"}], ["b", None]], batch.context)
    assert batch.sent == [["a", "x"], ["b", ""]]
    assert last == ["", ""]


@pytest.mark.parametrize(("path", "kind"), [("v1/chat/completions", "chat.completion"), ("v1/completions", "text_completion")])  # fmt: skip
async def test_openais_events(path: str, kind: str) -> None:
    for tokens in (slowly("a ", "b"), in_background(["a ", "b"])):
        batch = Batch(path=path)
        last = await stream_tokens(tokens, batch.context, "openai")
        *events, done = batch.whole(last).decode().split("\n\n")[:-1]
        assert done == "data: [DONE]"
        found = [json.loads(event[6:]) for event in events]
        assert {each["object"] for each in found} == {f"{kind}.chunk" if "chat" in kind else kind}
        texts = [choice.get("text", choice.get("delta", {}).get("content", "")) for each in found for choice in each["choices"]]  # fmt: skip
        assert "".join(texts) == "a b"
        assert found[-1]["choices"][0]["finish_reason"] == "stop"
        assert batch.context.get_response_content_type(0).startswith("text/event-stream")
        assert len(batch.sent) == 2


async def test_without_streaming_the_answer_is_whole() -> None:
    batch = Batch(2)
    found = await stream_tokens(slowly(["a", "x"], ["b", "y"]), batch.context, "openai", stream=False)
    assert [json.loads(each)["choices"][0]["message"]["content"] for each in found] == ["ab", "xy"]
    assert batch.context.get_response_content_type(1) == "application/json"
    assert stream_tokens(iter(["a", "b"]), Batch().context, stream=False) == ["ab"]
    assert batch.sent == []


def test_what_can_not_be_sent_is_told() -> None:
    with pytest.raises(ValueError, match="1 pieces of text for a batch of 2"):
        stream_tokens(["a"], Batch(2).context)
    with pytest.raises(TypeError, match="not int"):
        stream_tokens([3], Batch().context)
    batch = Batch()
    batch.context.send_partial = None
    with pytest.raises(ValueError, match="a running batch"):
        stream_tokens(["a"], batch.context)


async def test_a_generator_that_fails_fails_the_request_behind_what_was_sent() -> None:
    def failing() -> Any:
        yield "a"
        raise RuntimeError("out of words")

    plain, behind = Batch(), Batch()
    with pytest.raises(RuntimeError, match="out of words"):
        stream_tokens(failing(), plain.context)
    with pytest.raises(RuntimeError, match="out of words"):
        await stream_tokens(in_background(failing()), behind.context)
    assert plain.sent == behind.sent == [["a"]]


async def test_a_streamer_in_the_background_leaves_the_loop_free() -> None:
    asked, allowed = threading.Event(), threading.Event()

    def blocking() -> Any:
        asked.set()
        assert allowed.wait(600)
        yield "a"

    tokens = in_background(blocking())
    coming = tokens.__anext__()
    task = asyncio.ensure_future(coming)
    while not asked.is_set():
        await asyncio.sleep(0)  # the loop turns while the generator waits
    allowed.set()
    assert await task == "a"
