"""LanguageModel: the default handler of language models. It answers OpenAI's chat completions and completions.

It is asynchronous: all requests of a worker generate side by side in one engine. A client that leaves cancels its
request, which leaves the engine's batch at the next step.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..container_limits import whole_cores
from ..generation.engine import Engine, EngineStopped, FinishReason, Progress
from ..generation.openai_answer import LAST_EVENT, Answering, usage_of
from ..generation.openai_request import GenerationRequest, Refused, body_of, read_chat, read_completion
from ..generation.text_stream import TextStream
from .context import Context
from .language_model_options import LanguageModelOptions
from .prediction_exception import PredictionException

log = logging.getLogger(__name__)

_TEMPLATE = 10.0  # seconds that a chat template may take
_READERS = {"v1/chat/completions": read_chat, "v1/completions": read_completion}


class LanguageModel:
    """A handler of one causal language model in transformers' format, or a GGUF file.

    Its options are those of `handler:` in model-config.yaml; see LanguageModelOptions.
    """

    def initialize(self, context: Context) -> None:
        """Load tokenizer and model, and start the engine. Raises ValueError, and what transformers raises."""
        from ..generation.hf_engine import HfEngine
        from ..generation.hf_model import load_model

        properties = context.system_properties
        self._options = options = LanguageModelOptions.read(context.model_yaml_config.get("handler", {}))
        gpu = properties.get("gpu_id")
        if gpu is None:
            import torch

            torch.set_num_threads(options.threads or whole_cores())
        folder = Path(properties["model_dir"], options.model_path)
        self._tokenizer, model = load_model(folder, options, f"cuda:{gpu}" if gpu is not None else "cpu")
        memory = options.memory_tokens
        self._engine: Engine = context.monitored(HfEngine(model, memory=memory, batch=options.batch_tokens))
        context.notes["engine"] = f"transformers, {memory} tokens of KV memory, context {self._engine.context_length}"

    async def handle(self, data: Sequence[Mapping[str, Any]], context: Context) -> list[Any]:
        """Answer one request in OpenAI's format."""
        try:
            return [await self._answer(data[0], context)]
        except Refused as refused:
            context.set_response_status(refused.status)
            context.set_response_content_type(0, "application/json")
            if refused.status == 429:
                context.set_response_header(0, "Retry-After", "1")
            return [refused.written()]

    async def _answer(self, row: Mapping[str, Any], context: Context) -> bytes:
        path = str(context.get_request_header(0, "url_path") or "v1/chat/completions").strip("/")
        reader = _READERS.get(path)
        if reader is None:
            raise Refused(f"This model has no '{path}': it has {', '.join(_READERS)}.", status=404)
        body = body_of(row)
        request = reader(body, self._options.max_sequences)
        prompts = await self._prompts(request)
        waiting = self._engine.stats().waiting
        if waiting >= self._options.max_waiting:
            raise Refused(
                f"{waiting} sequences wait for a place in the engine's memory, the most that may (max_waiting).",
                status=429,
            )
        name = str(body.get("model") or context.model_name)
        answering = Answering(context.get_request_id() or "", name, int(time.time()), chat=bool(request.messages))
        return await _Generation(self._engine, self._decode, request, prompts, answering, context).run()

    async def _prompts(self, request: GenerationRequest) -> list[list[int]]:
        """Return the tokens of each prompt. Raises Refused."""
        if not request.messages:
            return [self._tokens_of(prompt) for prompt in request.prompts]
        try:
            async with asyncio.timeout(_TEMPLATE):
                return [await asyncio.to_thread(self._render, request.messages)]
        except TimeoutError:
            raise Refused(f"The model's chat template took more than {_TEMPLATE:g} s.", "messages") from None

    def _render(self, messages: Sequence[Mapping[str, Any]]) -> list[int]:
        if not self._tokenizer.chat_template:
            raise Refused("This model has no chat template: use v1/completions.", "messages")
        try:
            text = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        except Exception as error:  # noqa: BLE001  a template may raise anything, most often on the order of roles
            raise Refused(f"The model's chat template refuses these messages: {error}", "messages") from None
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def _tokens_of(self, prompt: str | tuple[int, ...]) -> list[int]:
        if isinstance(prompt, str):
            return list(self._tokenizer.encode(prompt))
        size = len(self._tokenizer)
        if max(prompt) >= size:
            raise Refused(f"'prompt' has the token {max(prompt)}, and the model has {size} tokens.", "prompt")
        return list(prompt)

    def _decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)


class _Generation:
    """The sequences of one request, on their way from the engine to the client."""

    def __init__(
        self, engine: Engine, decode: Any, request: GenerationRequest, prompts: Sequence[Sequence[int]],
        answering: Answering, context: Context,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._request = request
        self._answering = answering
        self._context = context
        self._prompts = [prompt for prompt in prompts for _ in range(request.number)]
        self._prompt_tokens = sum(map(len, prompts))
        self._texts = [TextStream(decode, request.stops) for _ in self._prompts]
        self._counts = [0] * len(self._prompts)
        self._reasons: dict[int, FinishReason] = {}
        self._news: dict[int, Progress] = {}
        self._came = asyncio.Event()

    async def run(self) -> bytes:
        """Generate, and return the answer, or the last events of a streamed one."""
        samplings = [self._request.sampling(len(prompt), self._engine.context_length) for prompt in self._prompts]
        try:
            for index, (prompt, sampling) in enumerate(zip(self._prompts, samplings, strict=True)):
                self._engine.submit(self._id(index), prompt, sampling, lambda news, at=index: self._receive(at, news))
            if self._request.stream:
                self._context.set_response_content_type(0, "text/event-stream; charset=utf-8")
                self._send(b"".join(self._answering.first(index) for index in range(len(self._prompts))))
            while len(self._reasons) < len(self._prompts):
                await self._came.wait()
                self._came.clear()
                news, self._news = self._news, {}
                self._send(b"".join([self._take(index, each) for index, each in news.items()]))
        except EngineStopped as error:
            _end_worker(str(error))
            raise PredictionException(f"The engine of this worker has failed: {error}", 503) from None
        finally:
            for index in range(len(self._prompts)):
                self._engine.cancel(self._id(index))
        return self._end()

    def _id(self, index: int) -> str:
        return f"{self._answering.request_id}-{index}"

    def _receive(self, index: int, news: Progress) -> None:
        self._news[index] = news  # the latest has all tokens
        self._came.set()

    def _take(self, index: int, news: Progress) -> bytes:
        if index in self._reasons:
            return b""
        if news.error:
            raise PredictionException(f"The engine failed: {news.error}", 500)
        stream = self._texts[index]
        text = stream.finish(news.tokens) if news.finished else stream.add(news.tokens)
        self._counts[index] = len(news.tokens)
        reason: FinishReason | None = "stop" if stream.stopped else news.finished
        if reason is not None:
            self._reasons[index] = reason
            self._engine.cancel(self._id(index))
        if not self._request.stream or not (text or reason):
            return b""
        return self._answering.piece(index, text, reason)

    def _send(self, events: bytes) -> None:
        if events and self._request.stream and self._context.send_partial is not None:
            self._context.send_partial([events], 200)

    def _end(self) -> bytes:
        usage = usage_of(self._prompt_tokens, sum(self._counts))
        if self._request.stream:
            return (self._answering.usage(usage) if self._request.include_usage else b"") + LAST_EVENT
        self._context.set_response_content_type(0, "application/json")
        choices: list[tuple[str, FinishReason]] = [
            (stream.text, self._reasons[index]) for index, stream in enumerate(self._texts)
        ]
        return self._answering.whole(choices, usage)


def _end_worker(reason: str) -> None:
    """End this process once its answer is sent: a worker without an engine is replaced by another one."""
    log.error("the engine has ended (%s): the worker ends, too", reason)
    asyncio.get_running_loop().call_later(0.5, os._exit, 1)
