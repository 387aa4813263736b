"""ChildEngine: a handler whose model is served by an engine of its own, such as vLLM, which runs as a child process.

Requests in OpenAI's format are passed on as they came, and the engine's answers as they come: bytes, which nothing here
reads. A client that leaves closes its connection to the engine, which ends what it generates for it. When the engine
ends or hangs, this process ends too, and the server starts both anew.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import orjson

from ..generation.child_engine.connection import Exchange
from ..generation.child_engine.engine import EngineFailed, RunningEngine
from ..generation.child_engine.events import EventCutter
from ..generation.child_engine.http_answer import BadAnswer
from ..generation.child_engine.options import read_options
from ..generation.openai_request import Refused
from ..tracing.trace_parent import parent_text, read_parent
from .context import Context
from .prediction_exception import PredictionException

log = logging.getLogger(__name__)

PATHS = (
    "v1/chat/completions", "v1/completions", "v1/embeddings", "v1/responses", "v1/models", "v1/score", "v1/rerank",
    "tokenize", "detokenize", "pooling", "classify", "score", "rerank",
)  # fmt: skip
_MOST_EVENT = 4 << 20  # bytes of one event of a stream
_PASSED_BACK = ("retry-after",)
_LAST_ANSWERS = 5.0  # seconds that the requests of an engine that has ended may take to be answered


class ChildEngine:
    """A handler of any engine; see generation.child_engine.options for what `handler:` may say."""

    options_of: ClassVar[str] = "child_engine"

    def initialize(self, context: Context) -> None:
        """Start the engine, and wait until it is ready. Raises ValueError for what can't be served."""
        properties, yaml = context.system_properties, context.model_yaml_config
        options = read_options(self.options_of, yaml.get("handler", {}), Path(properties["model_dir"]))
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError:
            raise ValueError("this handler is asynchronous: model-config.yaml needs asyncCommunication: true") from None
        self._name = context.model_name
        self._engine = RunningEngine(options, context.model_name, self._leave)
        self._leaving: asyncio.Task[None] | None = None
        atexit.register(self._engine.stop)
        allowed = yaml.get("startupTimeout", 0)
        cwd = str(properties["model_dir"])
        took = loop.run_until_complete(self._start(cwd, allowed if isinstance(allowed, int) else 0, context))
        context.notes["engine"] = f"{options.kind}, as a process of its own, ready after {took:.0f} s"

    async def _start(self, cwd: str, allowed: float, context: Context) -> float:
        took = await self._engine.start(cwd, allowed)
        self._engine.watch(context.report_engine)
        return took

    async def handle(self, data: Sequence[Mapping[str, Any]], context: Context) -> list[Any]:
        """Answer one request in OpenAI's format."""
        try:
            return [await self._answer(data[0], context)]
        except Refused as refused:
            context.set_response_status(refused.status)
            context.set_response_content_type(0, "application/json")
            return [refused.written()]
        except EngineFailed as error:
            raise PredictionException(f"{context.model_name}: {error}", 503) from None

    async def _answer(self, row: Mapping[str, Any], context: Context) -> bytes:
        body = row.get("body", row.get("data", b""))
        if not isinstance(body, bytes | bytearray | memoryview):
            raise Refused("The body must be JSON in OpenAI's format.")
        path = str(context.get_request_header(0, "url_path") or "").strip("/") or _usual_path(body)
        if path not in PATHS:
            raise Refused(f"This model has no '{path[:100]}': it has {', '.join(PATHS)}.", status=404)
        headers = {"Content-Type": "application/json", "Accept": "*/*", "X-Request-Id": context.get_request_id() or ""}
        headers |= _trace_fields(context)
        method = "GET" if path == "v1/models" else "POST"
        async with self._engine.ask(method, f"/{path}", body if method == "POST" else b"", headers) as exchange:
            return await self._pass_back(exchange, context)

    async def _pass_back(self, exchange: Exchange, context: Context) -> bytes:
        """Pass on the engine's answer, event by event if it is a stream; return the last of it."""
        head = exchange.head
        if not 200 <= head.status <= 599 or head.status in (204, 304):
            raise BadAnswer(f"answered {head.status}, which is none of OpenAI's answers")
        context.set_response_content_type(0, head.content_type or "application/json")
        for name in _PASSED_BACK:
            if name in head.headers:
                context.set_response_header(0, name, head.headers[name])
        if head.status != 200:
            context.set_response_status(head.status)
        if not head.content_type.lower().startswith("text/event-stream"):
            return await exchange.whole(context.max_response_size)
        cutter = EventCutter(_MOST_EVENT)
        while piece := await exchange.piece():
            if (events := cutter.cut(piece)) and context.send_partial is not None:
                context.send_partial([events], head.status)
        return cutter.rest()

    def _leave(self, reason: str) -> None:
        """End this process, once the requests that the engine had are answered: it is replaced, engine and all."""
        log.error("%s: the worker ends, too, and both are started anew", reason)
        self._leaving = asyncio.get_running_loop().create_task(self._exit())

    async def _exit(self) -> None:
        try:
            async with asyncio.timeout(_LAST_ANSWERS):
                await self._engine.until_unasked()
        except TimeoutError:
            pass
        os._exit(1)


class VLLMHandler(ChildEngine):
    """The handler of TorchServe's name `vllm_handler`: the same keys in model-config.yaml, and `vllm serve`."""

    options_of = "vllm_handler"


class TRTLLMHandler(ChildEngine):
    """The handler of TorchServe's name `trt_llm_handler`: the same keys in model-config.yaml, and `trtllm-serve`."""

    options_of = "trt_llm_handler"


def _trace_fields(context: Context) -> dict[str, str]:
    """Return the headers that make the engine's spans a part of the request's trace: below the worker's span if this
    server records the request, else below the client's; none if that tells of no span.
    """
    asked = [str(context.get_request_header(0, name) or "") for name in ("traceparent", "tracestate")]
    parent = read_parent([context.traceparent or asked[0]], [asked[1]])
    if parent is None:
        return {}
    fields = {"traceparent": parent_text(parent.trace_id, parent.span_id, parent.flags)}
    return fields | ({"tracestate": parent.state} if parent.state else {})


def _usual_path(body: bytes | bytearray | memoryview) -> str:
    """Return the path of a request that names none: a chat if it has messages, else a completion."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refused("The body must be JSON in OpenAI's format.") from None
    return "v1/chat/completions" if isinstance(said, dict) and "messages" in said else "v1/completions"
