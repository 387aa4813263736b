"""MonitoredEngine: an engine that tells the server of its load, and of the tokens that each request has.

The server admits requests by it, ends those that stall, and counts tokens. A report is made at once when a request has
its first token or ends, since the server waits for that, and else at most every `interval` seconds, however many tokens
come: what a report holds is bounded by the requests that run and by MOST_GAPS.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from .engine import Engine, EngineCapacity, EngineStats, Progress, Sampling

MOST_GAPS: Final = 4096  # gaps between tokens in one report
INTERVAL: Final = 0.25  # seconds

EndReason: TypeAlias = Literal["stop", "length", "error", "abort"]


@dataclass(frozen=True, slots=True)
class EngineReport:
    """The load of an engine, and what has happened since its last report.

    `memory` is the part of the KV memory in use. `progress` has, of each request with new tokens, its id, the tokens of
    its prompts, and all that were generated for it. `gaps` are the seconds between two tokens of a sequence. `ended`
    are the reasons for which sequences ended, "abort" if one was cancelled. The other numbers are of tokens: of prompts
    whose first token has come, generated, looked up among those in memory, and found there.
    """

    running: int
    waiting: int
    memory: float
    progress: tuple[tuple[str, int, int], ...] = ()
    gaps: tuple[float, ...] = ()
    ended: tuple[EndReason, ...] = ()
    prompt_tokens: int = 0
    generation_tokens: int = 0
    prefix_queries: int = 0
    prefix_hits: int = 0


Report: TypeAlias = Callable[["EngineReport | str"], None]  # an engine that is a process reports Prometheus text


class MonitoredEngine:
    """An engine in front of another one. `report` is called on the event loop.

    The ids of a request's sequences are the request's own, a hyphen, and the sequence's number.
    """

    def __init__(
        self, engine: Engine, report: Report, *, interval: float = INTERVAL, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._engine = engine
        self._report = report
        self._interval = interval
        self._clock = clock
        self._running: dict[str, _Sequence] = {}  # by the sequence's id
        self._requests: dict[str, _Request] = {}
        self._progress: dict[str, _Request] = {}
        self._gaps: list[float] = []
        self._ended: list[EndReason] = []
        self._prompt_tokens = self._generation_tokens = 0
        self._told = (0, 0)  # the engine's prefix queries and hits at the last report
        self._timer: asyncio.Handle | None = None
        self._urgent = False

    @property
    def context_length(self) -> int:
        return self._engine.context_length

    @property
    def capacity(self) -> EngineCapacity:
        return self._engine.capacity

    def submit(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling, receive: Callable[[Progress], None]
    ) -> None:
        """Begin to generate; see Engine."""
        name = request_id.rpartition("-")[0]
        request = self._requests.setdefault(name, _Request())
        request.sequences += 1
        request.prompt += len(prompt)
        self._running[request_id] = sequence = _Sequence(name, request, len(prompt), self._clock())

        def hear(progress: Progress) -> None:
            if self._running.get(request_id) is sequence:
                self._hear(request_id, sequence, progress)
            receive(progress)

        try:
            self._engine.submit(request_id, prompt, sampling, hear)
        except BaseException:
            self._forget(request_id)
            raise
        self._flush_later()

    def cancel(self, request_id: str, reason: EndReason = "abort") -> None:
        """End a request, and report it as ended for `reason` if it has not ended by itself; see Engine."""
        self._engine.cancel(request_id)
        self._end(request_id, reason)

    def stats(self) -> EngineStats:
        """Return the engine's load."""
        return self._engine.stats()

    def stop(self) -> None:
        """End all requests, of which nothing is reported any more; see Engine."""
        self._running.clear()
        self._requests.clear()
        self._engine.stop()

    def _hear(self, request_id: str, sequence: _Sequence, progress: Progress) -> None:
        new = len(progress.tokens) - sequence.generated
        if new > 0:
            now, first = self._clock(), sequence.generated == 0
            if first:
                self._prompt_tokens += sequence.prompt
            else:
                self._gaps += [(now - sequence.last) / new] * min(new, MOST_GAPS - len(self._gaps))
            sequence.last = now
            sequence.generated += new
            sequence.request.generated += new
            self._generation_tokens += new
            self._progress[sequence.name] = sequence.request
            self._flush_soon() if first else self._flush_later()
        if progress.error or progress.finished:
            self._end(request_id, "error" if progress.error else progress.finished or "stop")

    def _end(self, request_id: str, reason: EndReason) -> None:
        if self._forget(request_id):
            self._ended.append(reason)
            self._flush_soon()

    def _forget(self, request_id: str) -> bool:
        """Remove a sequence, and its request with the last one. Return False if it has ended before."""
        sequence = self._running.pop(request_id, None)
        if sequence is None:
            return False
        sequence.request.sequences -= 1
        if not sequence.request.sequences:
            del self._requests[sequence.name]
        return True

    def _flush_soon(self) -> None:
        """Report at the end of the loop's turn, once what happens in it is known."""
        if not self._urgent:
            self._urgent = True
            if self._timer is not None:
                self._timer.cancel()
            self._timer = asyncio.get_running_loop().call_soon(self._flush)

    def _flush_later(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._flush)

    def _flush(self) -> None:
        self._timer, self._urgent = None, False
        stats = self._engine.stats()
        queries, hits = self._told
        self._told = stats.prefix_queries, stats.prefix_hits
        progress = tuple((name, each.prompt, each.generated) for name, each in self._progress.items())
        report = EngineReport(
            stats.running, stats.waiting, stats.memory, progress, tuple(self._gaps), tuple(self._ended),
            self._prompt_tokens, self._generation_tokens,
            max(0, stats.prefix_queries - queries), max(0, stats.prefix_hits - hits),
        )  # fmt: skip
        self._progress.clear()
        self._gaps.clear()
        self._ended.clear()
        self._prompt_tokens = self._generation_tokens = 0
        self._report(report)


@dataclass(slots=True)
class _Request:
    """A request: its sequences that run, and the tokens of all that it ever had."""

    sequences: int = 0
    prompt: int = 0
    generated: int = 0


@dataclass(slots=True)
class _Sequence:
    """A sequence that generates: its request, how many tokens it has, and when (s) the last one came."""

    name: str
    request: _Request
    prompt: int
    last: float
    generated: int = 0
