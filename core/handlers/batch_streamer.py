"""A streamer that yields the texts of a whole batch while transformers' `generate` produces them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any


class TextIteratorStreamerBatch:
    """A streamer to pass to `generate(streamer=…)` in another thread, and to iterate over in this one.

    Each item is a list with {"text": …} for each request of the batch. The iteration ends when the first text is
    complete. Raises ModuleNotFoundError without transformers.
    """

    def __init__(
        self,
        tokenizer: Any,
        batch_size: int,
        skip_prompt: bool = False,
        timeout: float | None = None,
        **decode_kwargs: Any,
    ) -> None:
        streamer = importlib.import_module("transformers").TextIteratorStreamer
        self.batch_size = batch_size
        self.streamers = [streamer(tokenizer, skip_prompt, timeout, **decode_kwargs) for _ in range(batch_size)]
        self.streamer_iterators = [iter(each) for each in self.streamers]

    def put(self, value: Any) -> None:
        if value.shape[0] != self.batch_size:
            raise ValueError(f"expected a tensor for a batch of {self.batch_size}, got one of shape {value.shape}")
        for index, streamer in enumerate(self.streamers):
            streamer.put(value[index : index + 1])

    def end(self) -> None:
        for streamer in self.streamers:
            streamer.end()

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        return self

    def __next__(self) -> list[dict[str, Any]]:
        texts = [next(each, None) for each in self.streamer_iterators]
        if None in texts:
            raise StopIteration
        return [{"text": text} for text in texts]
