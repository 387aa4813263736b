"""TokenTally: what many streamed answers showed, added up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..loadgen.histogram import Histogram
from .token_stream import Answer

_SHARES = (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))


@dataclass(frozen=True, slots=True)
class Slo:
    """A pair of bounds in seconds within which an answer is good: time to the first token, and of each further one."""

    ttft: float | None = None
    tpot: float | None = None

    def met(self, answer: Answer) -> bool:
        """Return whether an answer is within both bounds."""
        tpot = answer.tpot or 0.0
        return (self.ttft is None or answer.ttft <= self.ttft) and (self.tpot is None or tpot <= self.tpot)


@dataclass(slots=True)
class TokenTally:
    """The answers of a run. `late` is how long after they were due the generator has sent its requests."""

    slo: Slo
    ttft: Histogram = field(default_factory=Histogram)
    tpot: Histogram = field(default_factory=Histogram)
    gaps: Histogram = field(default_factory=Histogram)
    whole: Histogram = field(default_factory=Histogram)
    late: Histogram = field(default_factory=Histogram)
    answers: int = 0
    good: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    began: float = 0.0
    ended: float = 0.0

    def add(self, answer: Answer) -> None:
        """Add an answer."""
        if answer.sent:
            self.late.add(answer.sent - answer.due)
        if answer.error:
            self.failures[answer.error] += 1
            return
        self.answers += 1
        self.good += self.slo.met(answer)
        self.tokens += answer.tokens
        self.prompt_tokens += answer.prompt_tokens
        self.ttft.add(answer.ttft)
        self.whole.add(answer.last - answer.due)
        for gap in answer.gaps:
            self.gaps.add(gap)
        if answer.tpot is not None:
            self.tpot.add(answer.tpot)

    @property
    def seconds(self) -> float:
        """Return how long it took until the last answer."""
        return max(self.ended - self.began, 1e-9)

    def as_json(self) -> dict[str, Any]:
        """Return all of it; times in milliseconds, rates per second."""
        kinds = {"ttft_ms": self.ttft, "tpot_ms": self.tpot, "itl_ms": self.gaps, "e2e_ms": self.whole}
        return {
            "seconds": self.seconds, "answers": self.answers, "failures": dict(self.failures),
            "prompt_tokens": self.prompt_tokens, "completion_tokens": self.tokens,
            "requests_per_second": self.answers / self.seconds, "tokens_per_second": self.tokens / self.seconds,
            "goodput_per_second": self.good / self.seconds, "in_slo": self.good / max(self.answers, 1),
            **{name: quantiles(each) for name, each in kinds.items()}, "generator_late_ms": quantiles(self.late),
        }  # fmt: skip


def quantiles(histogram: Histogram) -> dict[str, float | None]:
    """Return mean and quantiles in milliseconds; None for a quantile with fewer than ten readings beyond it."""
    found: dict[str, float | None] = {"mean": _ms(histogram.mean), "p50": _ms(histogram.quantile(0.5))}
    for name, share in _SHARES[1:]:
        found[name] = _ms(histogram.tail(share))
    return found


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else seconds * 1e3
