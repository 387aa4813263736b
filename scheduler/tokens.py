"""What generation is measured in: the tokens that a request asks for, and the bounds of an engine. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenPolicy:
    """The limits of generation, in seconds: `first_token` from a request's arrival, `per_token` from each to the next.

    A worker has at most `most_runs` requests at a time.
    """

    first_token: float = math.inf
    per_token: float = math.inf
    most_runs: int = 1000


@dataclass(frozen=True, slots=True)
class TokenDemand:
    """The tokens that a request asks for.

    Its prompts have `size` bytes, and exactly `prompt` tokens if that is known. `copies` answers are wanted of each
    prompt, `sequences` in all, each of at most `completion` tokens; None: as many as the context allows.
    """

    size: int
    prompt: int | None = None
    completion: int | None = None
    sequences: int = 1
    copies: int = 1

    @property
    def least(self) -> int:
        """The tokens that a sequence of it needs of a context if its prompt is as short as it can be."""
        longest = -(-(self.prompt or 1) * self.copies // self.sequences)  # of prompts of equal length
        return longest + (self.completion or 1)


@dataclass(frozen=True, slots=True)
class EngineBounds:
    """The bounds of an engine in tokens: what a sequence may have, what the KV memory holds, what one step computes.

    The last two are 0 if the engine doesn't tell.
    """

    context: int
    memory: int = 0
    step: int = 0
