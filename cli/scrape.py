"""A parser of Prometheus text. No I/O."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ..core.rates import quantile as quantile_of

Labels: TypeAlias = Mapping[str, str]

_LINE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?", re.ASCII)
_LABEL = re.compile(r'\s*([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"\s*,?', re.ASCII)
_ESCAPE = re.compile(r"\\(.)")
_ESCAPED = {"n": "\n"}


@dataclass(frozen=True, slots=True)
class Scrape:
    """The samples of one scrape.

    `at` is the time of the scrape in seconds of any clock. `samples` maps a metric's name to its labels and values.
    """

    at: float
    samples: Mapping[str, tuple[tuple[Labels, float], ...]]

    def of(self, name: str, **wanted: str) -> Iterator[tuple[Labels, float]]:
        """Yield labels and value of each sample named `name` that has all labels of `wanted`."""
        for labels, value in self.samples.get(name, ()):
            if all(labels.get(key) == text for key, text in wanted.items()):
                yield labels, value

    def total(self, name: str, **wanted: str) -> float:
        """Return the sum of the samples named `name` that have all labels of `wanted`."""
        return sum(value for _, value in self.of(name, **wanted))


def read_scrape(text: str, at: float) -> Scrape:
    """Parse Prometheus text. Lines that are no samples are left out."""
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
    """Return the value below which the share `share` (0 to 1) of a histogram's observations lies, or None if it is
    empty.

    `buckets` maps each upper bound, infinity included, to the number of observations that do not exceed it.
    """
    ends = sorted(buckets)
    if not ends or not math.isinf(ends[-1]):
        return None
    counts, below = [], 0.0
    for end in ends:
        counts.append(max(0.0, buckets[end] - below))
        below = max(below, buckets[end])
    return quantile_of(share, ends[:-1], counts)
