"""Scrape: the numbers in Prometheus text. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Labels: TypeAlias = Mapping[str, str]

_LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?", re.ASCII)
_LABEL = re.compile(r'\s*([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"\s*,?', re.ASCII)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n"}


@dataclass(frozen=True, slots=True)
class Scrape:
    """`at`: when, in seconds of any clock. `samples`: by name, labels and value."""

    at: float
    samples: Mapping[str, tuple[tuple[Labels, float], ...]]

    def of(self, name: str, **wanted: str) -> Iterator[tuple[Labels, float]]:
        """The samples of this name that have these labels."""
        for labels, value in self.samples.get(name, ()):
            if all(labels.get(key) == text for key, text in wanted.items()):
                yield labels, value

    def total(self, name: str, **wanted: str) -> float:
        """Their sum."""
        return sum(value for _, value in self.of(name, **wanted))


def read_scrape(text: str, at: float) -> Scrape:
    """A line that is none is left out."""
    found: dict[str, list[tuple[Labels, float]]] = {}
    for line in text.splitlines():
        match = None if line.startswith("#") else _LINE.fullmatch(line.strip())
        if match is None:
            continue
        name, labels, number = match.groups()
        try:
            value = float(number)
        except ValueError:
            continue
        found.setdefault(name, []).append((_labels(labels or ""), value))
    return Scrape(at, {name: tuple(samples) for name, samples in found.items()})


def _labels(text: str) -> Labels:
    return {name: _ESCAPE.sub(_unescaped, value) for name, value in _LABEL.findall(text)}


def _unescaped(match: re.Match[str]) -> str:
    return _ESCAPED.get(match[1], match[1])


def quantile(share: float, buckets: Mapping[float, float]) -> float | None:
    """The value below which `share` of a histogram lies, as Prometheus's histogram_quantile reckons: evenly within
    a bucket. `buckets`: how many values are at most so large, by the upper ends, with infinity. None: it is empty.
    """
    ends = sorted(buckets)
    if not ends or not math.isinf(ends[-1]) or buckets[ends[-1]] <= 0:
        return None
    rank = share * buckets[ends[-1]]
    low = below = 0.0
    for end in ends:
        if buckets[end] >= rank and buckets[end] > below:
            return low if math.isinf(end) else low + (end - low) * (rank - below) / (buckets[end] - below)
        low, below = (low if math.isinf(end) else end), max(below, buckets[end])
    return low
