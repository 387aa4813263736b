"""Engine: the interface of what generates tokens. One engine serves many requests side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

FinishReason: TypeAlias = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Sampling:
    """The way in which the tokens of a request are chosen.

    At most `max_tokens` are generated. With `temperature` 0 the likeliest token is always taken; else one is drawn from
    the likeliest tokens that together have the probability `top_p`.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of one request: `tokens` are all that were generated so far, the end token not among them.

    `finished` says why no more will come, and `error` that they won't because the engine failed.
    """

    tokens: Sequence[int]
    finished: FinishReason | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class EngineStats:
    """The load of an engine: sequences that generate and that wait, and the part of its KV memory in use, 0 to 1.

    `prefix_hits` of the `prefix_queries` tokens that were looked up so far were in memory already; both are 0 for an
    engine without such a cache.
    """

    running: int
    waiting: int
    memory: float
    prefix_queries: int = 0
    prefix_hits: int = 0


@dataclass(frozen=True, slots=True)
class EngineCapacity:
    """The bounds of an engine, in tokens: what a prompt and what follows it may have together (`context`), what the KV
    memory holds, in blocks of `block`, and what one step computes at most. 0: the engine doesn't tell.
    """

    context: int
    memory: int = 0
    block: int = 1
    step: int = 0


class Engine(Protocol):
    """An engine. All methods are called on the event loop's thread, and return at once."""

    @property
    def context_length(self) -> int:
        """The number of tokens that a prompt and what follows it may have together."""
        ...

    @property
    def capacity(self) -> EngineCapacity:
        """The engine's bounds, which don't change."""
        ...

    def submit(
        self, request_id: str, prompt: Sequence[int], sampling: Sampling, receive: Callable[[Progress], None]
    ) -> None:
        """Begin to generate. `receive` is called on the event loop, the last time with `finished` or `error`.

        `request_id` must be that of no other running request. Raises EngineStopped.
        """

    def cancel(self, request_id: str) -> None:
        """End a request after the current step at the latest; `receive` is not called any more."""

    def stats(self) -> EngineStats:
        """Return the engine's load."""
        ...

    def stop(self) -> None:
        """End all requests, and free what the engine holds."""


class EngineStopped(RuntimeError):
    """An error for a request to an engine that has failed or was stopped."""
