"""TokenModel: how many tokens requests take, and how long they keep them, learnt from those that ran. Pure.

Before it runs, a request is known by the bytes of its prompt and by `max_tokens`, which most clients leave out or set
far too high. Room for all that it may ask for would leave an engine mostly idle; room for too little makes an engine
put sequences off that it has begun. So room is kept for what nine of ten requests have used of late, and a request that
goes on beyond that is charged with what it really has.
"""

from __future__ import annotations

from collections import deque

from .tokens import EngineBounds, TokenDemand

REMEMBERED = 64  # requests
ENOUGH = 8  # requests after which their lengths are believed
FIRST_GUESS = 256  # tokens of an answer, before anything is known
TOKENS_PER_BYTE = 0.25  # of English; the same


class TokenModel:
    """The estimates for the requests of one model version."""

    __slots__ = ("_completions", "_held", "_ratios", "_to_first")

    def __init__(self) -> None:
        self._ratios: deque[float] = deque(maxlen=REMEMBERED)  # tokens per byte of a prompt
        self._completions: deque[float] = deque(maxlen=REMEMBERED)  # tokens of a sequence
        self._held: deque[float] = deque(maxlen=REMEMBERED)  # seconds from begin to end
        self._to_first: deque[float] = deque(maxlen=REMEMBERED)  # seconds from begin to first token

    @property
    def held(self) -> float | None:
        """The median of the seconds for which requests keep their tokens; None while nothing is known."""
        return _quantile(self._held, 0.5) if self._held else None

    @property
    def to_first(self) -> float:
        """The median of the seconds from a request's begin to its first token; 0 while nothing is known."""
        return _quantile(self._to_first, 0.5) if self._to_first else 0.0

    def cost(self, demand: TokenDemand, bounds: EngineBounds | None) -> int:
        """Return the tokens to keep room for, at least 1."""
        prompt = demand.prompt
        if prompt is None:
            ratio = _quantile(self._ratios, 0.5) if self._ratios else TOKENS_PER_BYTE
            prompt = max(1, round(demand.size * ratio))
        total = prompt * demand.copies + self.completion(demand) * demand.sequences
        if bounds is not None:  # longer sequences than a context has are refused
            total = min(total, bounds.context * demand.sequences)
        return max(1, total)

    def completion(self, demand: TokenDemand) -> int:
        """Return the tokens that a sequence of the request is expected to have at most."""
        usual = FIRST_GUESS
        if len(self._completions) >= ENOUGH:
            usual = max(1, round(_quantile(self._completions, 0.9)))
        return usual if demand.completion is None else min(usual, demand.completion)

    def began(self, demand: TokenDemand, prompt: int, seconds: float) -> None:
        """Record that a request had its first token `seconds` after its begin; its prompts have `prompt` tokens."""
        self._to_first.append(seconds)
        if demand.prompt is None and demand.size:
            self._ratios.append(prompt / (demand.size * demand.copies))

    def ended(self, demand: TokenDemand, generated: int, seconds: float) -> None:
        """Record that a request has ended by itself, `seconds` after its begin, with so many tokens generated."""
        self._completions.append(generated / demand.sequences)
        self._held.append(seconds)


def _quantile(values: deque[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
