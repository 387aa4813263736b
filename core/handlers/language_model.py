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
from functools import partial
from pathlib import Path
from typing import Any

from ..container_limits import whole_cores
from ..generation.chat_template import ChatTemplate, in_thread
from ..generation.choice_stream import ChoiceStream, Logprobs
from ..generation.detokenizer import decoder_of
from ..generation.engine import Constraint, Engine, EngineStopped, Progress
from ..generation.grammar import Grammars
from ..generation.monitored_engine import MonitoredEngine
from ..generation.openai_answer import LAST_EVENT, Answering, FinishReason, usage_of
from ..generation.openai_fields import Refused
from ..generation.openai_request import GenerationRequest, body_of, read_chat, read_completion
from ..generation.step_threads import StepThreads
from ..generation.tool_calls import ToolCallStream
from .context import Context
from .language_model_options import LanguageModelOptions
from .prediction_exception import PredictionException

log = logging.getLogger(__name__)

_TEMPLATE = 10.0  # seconds that a chat template may take
_GRAMMAR = 30.0  # seconds that a schema may take to be understood
_READERS = {"v1/chat/completions": read_chat, "v1/completions": read_completion}


class LanguageModel:
    """A handler of one causal language model in transformers' format, or a GGUF file.

    Its options are those of `handler:` in model-config.yaml; see LanguageModelOptions.
    """

    def initialize(self, context: Context) -> None:
        """Load tokenizer and model, and start the engine. Raises ValueError, and what transformers raises."""
        from ..generation.hf_engine import HfEngine, ends_of, share_lock
        from ..generation.hf_model import load_model

        properties = context.system_properties
        self._options = options = LanguageModelOptions.read(context.model_yaml_config.get("handler", {}))
        gpu = properties.get("gpu_id")
        threads = threads_of(options) if gpu is None else None
        folder = Path(properties["model_dir"], options.model_path)
        tokenizer, model = load_model(folder, options, f"cuda:{gpu}" if gpu is not None else "cpu")
        self._understand(tokenizer, int(model.config.vocab_size), ends_of(model))
        memory = options.memory_tokens
        share_lock()
        engine = HfEngine(
            model, memory=memory, batch=options.batch_tokens, threads=threads,
            stepped=lambda: context.flush_partials(),  # noqa: PLW0108  it is set later
        )  # fmt: skip
        self._engine: Engine = context.monitored(engine)
        context.notes["engine"] = f"transformers, {memory} tokens of KV memory, context {self._engine.context_length}"

    def _understand(self, tokenizer: Any, vocabulary: int, ends: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._vocabulary = min(len(tokenizer), vocabulary)
        self._template = ChatTemplate(tokenizer, _TEMPLATE)
        self._grammars = Grammars(tokenizer, ends)
        self._decode = decoder_of(tokenizer)

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
        choices = [self._choice(request) for _ in range(len(prompts) * request.number)]
        constraints = await self._constraints(request, len(choices))
        return await _Generation(self._engine, request, prompts, choices, answering, context).run(constraints)

    async def _prompts(self, request: GenerationRequest) -> list[list[int]]:
        """Return the tokens of each prompt. Raises Refused."""
        if max(request.bias, default=0) >= self._vocabulary:
            raise Refused(f"'logit_bias' has a token beyond the model's {self._vocabulary}.", "logit_bias")
        if not request.messages:
            return [self._tokens_of(prompt) for prompt in request.prompts]
        return [await self._template.render(request.messages, request.tools)]

    def _tokens_of(self, prompt: str | tuple[int, ...]) -> list[int]:
        if isinstance(prompt, str):
            return list(self._tokenizer.encode(prompt))
        size = self._vocabulary
        if max(prompt) >= size:
            raise Refused(f"'prompt' has the token {max(prompt)}, and the model has {size} tokens.", "prompt")
        return list(prompt)

    async def _constraints(self, request: GenerationRequest, count: int) -> list[Constraint | None]:
        """Return what each sequence is held to. Raises Refused."""
        tools, schema, grammars = request.tools, request.schema, self._grammars
        if tools is not None and tools.choice != "auto":
            form = self._template.tool_format(tools)
            first = await in_thread(lambda: grammars.calls(tools, form), _GRAMMAR)
        elif schema is not None:
            first = await in_thread(lambda: grammars.json(schema), _GRAMMAR)
        else:
            return [None] * count
        return [first, *(first.copy() for _ in range(count - 1))]

    def _choice(self, request: GenerationRequest) -> ChoiceStream:
        tools = request.tools
        stream = ToolCallStream(self._template.tool_format(tools), tools.schemas) if tools else None
        told = Logprobs(self._decode, chat=bool(request.messages)) if request.logprobs is not None else None
        return ChoiceStream(self._decode, request.stops, stream, told)


class _Generation:
    """The sequences of one request, on their way from the engine to the client."""

    def __init__(
        self, engine: Engine, request: GenerationRequest, prompts: Sequence[Sequence[int]],
        choices: Sequence[ChoiceStream], answering: Answering, context: Context,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._request = request
        self._answering = answering
        self._context = context
        self._prompts = [prompt for prompt in prompts for _ in range(request.number)]
        self._prompt_tokens = sum(map(len, prompts))
        self._choices = choices
        self._reasons: dict[int, FinishReason] = {}
        self._opening = b""  # goes ahead of the first event
        self._failure: Exception | None = None
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, constraints: Sequence[Constraint | None]) -> bytes:
        """Generate, and return the answer, or the last events of a streamed one. Raises Refused."""
        rooms = [self._request.room(len(prompt), self._engine.context_length) for prompt in self._prompts]
        samplings = [
            self._request.sampling(room, index, constraint)
            for index, (room, constraint) in enumerate(zip(rooms, constraints, strict=True))
        ]
        if self._request.stream:
            # It goes with the first token: until then a request that is late has an error for its whole answer.
            self._opening = b"".join(self._answering.first(index) for index in range(len(self._prompts)))
        try:
            for index, (prompt, sampling) in enumerate(zip(self._prompts, samplings, strict=True)):
                self._engine.submit(self._id(index), prompt, sampling, partial(self._receive, index))
            if self._request.stream:
                self._context.set_response_content_type(0, "text/event-stream; charset=utf-8")
            await self._ended
            if self._failure is not None:
                raise self._failure
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
        """Send what is certain of a sequence at once, in the call of the engine: no task is woken for a token."""
        if self._ended.done():
            return
        try:
            events = self._opening + self._take(index, news)
            self._opening = b""
            if events and self._request.stream and self._context.send_partial is not None:
                self._context.send_partial([events], 200)
        except Exception as error:  # noqa: BLE001  for `run`, which ends with it
            self._failure = error
        if self._failure is not None or len(self._reasons) == len(self._prompts):
            self._ended.set_result(None)

    def _take(self, index: int, news: Progress) -> bytes:
        if index in self._reasons:
            return b""
        if news.error:
            raise PredictionException(f"The engine failed: {news.error}", 500)
        piece = self._choices[index].add(news)
        if piece.reason is not None:
            self._reasons[index] = piece.reason
            self._finish(index)
        if not self._request.stream or not (piece.text or piece.calls or piece.reason):
            return b""
        return self._answering.piece(index, piece)

    def _finish(self, index: int) -> None:
        """End a sequence that has all it is to have, which the engine doesn't know if a stop string said so."""
        if isinstance(self._engine, MonitoredEngine):
            self._engine.cancel(self._id(index), "stop")
        else:
            self._engine.cancel(self._id(index))

    def _end(self) -> bytes:
        usage = usage_of(self._prompt_tokens, sum(choice.count for choice in self._choices))
        if self._request.stream:
            return (self._answering.usage(usage) if self._request.include_usage else b"") + LAST_EVENT
        self._context.set_response_content_type(0, "application/json")
        choices = [choice.whole(self._reasons[index]) for index, choice in enumerate(self._choices)]
        return self._answering.whole(choices, usage)


def threads_of(options: LanguageModelOptions, environment: Mapping[str, str] = os.environ) -> StepThreads | None:
    """Set torch's number of threads, and return what adapts it to each step, up to the worker's share of the cores.

    None where the number is said, by the options or by OMP_NUM_THREADS, which the server sets with the share only.
    """
    import torch

    share = int(environment.get("TS_WORKER_CORES", "0"))
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.threads or (not share and "OMP_NUM_THREADS" in environment):
        return None
    most = share or whole_cores()
    torch.set_num_threads(most)
    return StepThreads(most, torch.set_num_threads)


def _end_worker(reason: str) -> None:
    """End this process once its answer is sent: a worker without an engine is replaced by another one."""
    log.error("the engine has ended (%s): the worker ends, too", reason)
    asyncio.get_running_loop().call_later(0.5, os._exit, 1)
