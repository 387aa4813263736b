"""Engine: the interface of what generates tokens. One engine serves many requests side by side."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

import msgspec

FinishReason: TypeAlias = Literal["stop", "length"]


class Constraint(Protocol):
    """The form that the tokens of one sequence must have. An engine asks before each token, and tells the token."""

    def allowed(self) -> bytes:
        """Return one bit for each token of the vocabulary, the first token's lowest: 1 if it may come next.

        Raises ValueError if the form can't be kept to any longer.
        """
        ...

    def accept(self, token: int) -> None:
        """Take in the token that came."""
        ...

    def copy(self) -> Constraint:
        """Return one for another sequence, with the tokens so far."""
        ...


@dataclass(frozen=True, slots=True)
class Sampling:
    """The way in which the tokens of a request are chosen.

    At most `max_tokens` are generated. With `temperature` 0 the likeliest token is always taken; else one is drawn from
    the likeliest tokens that together have the probability `top_p`, and with a `seed` the same one each time.
    `logprobs` is the number of likeliest tokens that are told at each place beside the one that was taken, and None if
    no probabilities are told. `bias` is added to the logits of its tokens; `presence` is taken from those of each token
    that the answer has already, and `frequency` as often as it has it. `constraint` belongs to this sequence alone.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    logprobs: int | None = None
    presence: float = 0.0
    frequency: float = 0.0
    bias: Mapping[int, float] = field(default_factory=dict)
    constraint: Constraint | None = None

    @property
    def plain(self) -> bool:
        """Whether each token is the likeliest one, and nothing is told of it."""
        return self == Sampling(self.max_tokens, 0.0, self.top_p, self.seed)


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The logarithm of a token's probability before temperature and nucleus, and those of the likeliest ones."""

    logprob: float
    likeliest: Sequence[tuple[int, float]] = ()


class Progress(msgspec.Struct, frozen=True):
    """The state of one request: `tokens` are all that were generated so far, the end token not among them.

    `finished` says why no more will come, and `error` that they won't because the engine failed. `logprobs` has an
    entry for each token if they were asked for. One is made for each token, so it is no dataclass; see core/payload.py.
    """

    tokens: Sequence[int]
    finished: FinishReason | None = None
    error: str = ""
    logprobs: Sequence[TokenLogprob] = ()


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
