"""Runs of a language model: as many streamed answers at a time as there are prompts, and when their tokens came."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from torchserve.cli.tokenload.token_stream import OpenAiServer

from .process import NotServingError

_LONGEST = 600.0  # seconds

Prompt = str | Sequence[int]


@dataclass(frozen=True, slots=True)
class Run:
    """A run of one way: its seconds, all tokens, and the seconds to each request's first token."""

    seconds: float
    tokens: int
    ttft: Sequence[float]

    @property
    def rate(self) -> float:
        """Return tokens per second."""
        return self.tokens / self.seconds


async def served(url: str, model: str, prompts: Sequence[Prompt], tokens: Sequence[int]) -> Run:
    """Return a run of a server with OpenAI's API: so many `tokens` behind each prompt. Raises NotServingError."""
    server = OpenAiServer(url)
    asked = {"model": model, "temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    bodies = [{**asked, "prompt": prompt, "max_tokens": most} for prompt, most in zip(prompts, tokens, strict=True)]
    begin = time.perf_counter()
    answers = await asyncio.gather(*(server.stream("/completions", body, begin, _LONGEST) for body in bodies))
    seconds = time.perf_counter() - begin
    server.close()
    for answer in answers:
        if answer.error:
            raise NotServingError(f"{model}: {answer.error}")
    return Run(seconds, sum(answer.tokens for answer in answers), [answer.ttft for answer in answers])


def streamed(url: str, prompts: Sequence[str], tokens: Sequence[int]) -> Run:
    """Return a run of `rivals/streamer_handler.py` in TorchServe: so many `tokens` behind each prompt, of which those
    that it has generated beyond are not counted. Raises NotServingError.
    """
    with ThreadPoolExecutor(len(prompts)) as threads:
        begin = time.perf_counter()
        asked = [{"prompt": prompt, "max_tokens": most} for prompt, most in zip(prompts, tokens, strict=True)]
        found = list(threads.map(lambda body: _ask(url, body, begin), asked))
        seconds = time.perf_counter() - begin
    wanted = sum(min(count, most) for (count, _), most in zip(found, tokens, strict=True))
    return Run(seconds, wanted, [first for _, first in found])


def _ask(url: str, body: Mapping[str, Any], begin: float) -> tuple[int, float]:
    """Return the tokens of an answer, and when the first text came."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_LONGEST)
    try:
        connection.request("POST", parts.path, json.dumps(body), {"content-type": "application/json"})
        answer = connection.getresponse()
        pieces: list[bytes] = []
        first = 0.0
        while piece := answer.read1(1 << 16):
            first = first or time.perf_counter() - begin
            pieces.append(piece)
        text = b"".join(pieces)
        if answer.status != 200 or b"\n" not in text:
            raise NotServingError(f"{url}: status {answer.status}: {text[:200]!r}")
        return json.loads(text.rsplit(b"\n", 1)[1])["tokens"], first
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotServingError(f"{url}: {error}") from error
    finally:
        connection.close()
