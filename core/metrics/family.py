"""Family: one metric with all its series, and its Prometheus text 0.0.4, byte for byte as TorchServe writes it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import accumulate
from typing import TypeAlias

from .series import Counter, Gauge, Histogram, Reading

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)  # TorchServe's
KINDS = ("counter", "gauge", "histogram")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"(?!__)[a-zA-Z_][a-zA-Z0-9_]*")
Shown: TypeAlias = Counter | Gauge | Reading | Histogram


class Family:
    """A metric with all its series. Raises ValueError for a name, label or kind that the text format can't carry."""

    __slots__ = ("_bounds", "_edges", "_head", "_series", "help", "kind", "labels", "name")

    def __init__(
        self, kind: str, name: str, help_text: str, labels: Sequence[str], buckets: tuple[float, ...] = BUCKETS
    ) -> None:
        self.kind = kind
        self.name = name
        self.labels = tuple(labels)
        self._check()
        escaped = help_text.replace("\\", r"\\").replace("\n", r"\n")
        self.help = escaped
        self._head = f"# HELP {name} {escaped}\n# TYPE {name} {kind}\n"
        self._bounds = buckets
        self._edges = [*map(java_double, buckets), "+Inf"]
        self._series: dict[tuple[str, ...], tuple[str, Shown]] = {}

    def __len__(self) -> int:
        return len(self._series)

    @property
    def sample_names(self) -> tuple[str, ...]:
        """The names that the metric's lines begin with."""
        if self.kind == "histogram":
            return (self.name, f"{self.name}_bucket", f"{self.name}_count", f"{self.name}_sum")
        return (self.name,)

    def series(self, *values: str) -> Shown:
        """Return the series under these label values, created at its first use."""
        found = self._series.get(values)
        if found is not None:
            return found[1]
        made = Histogram(self._bounds) if self.kind == "histogram" else Counter() if self.kind == "counter" else Gauge()
        return self.attach(values, made)

    def attach(self, values: tuple[str, ...], series: Shown) -> Shown:
        """Show `series` under these label values. Raises ValueError if their number is wrong."""
        pairs = zip(self.labels, values, strict=True)
        self._series[values] = ("".join([f'{label}="{_escape(value)}",' for label, value in pairs]), series)
        return series

    def forget(self, *values: str) -> None:
        self._series.pop(values, None)

    def rows(self) -> list[tuple[str, Shown]]:
        """Return the labels, with a comma behind each, and the series of all rows. May be called from any thread."""
        return list(self._series.values())

    @property
    def edges(self) -> list[str]:
        """The upper ends of a histogram's buckets, as they are written."""
        return self._edges

    def text(self) -> str:
        """Return the comments and lines. May be called from any thread."""
        lines = [self._head]
        for labels, series in list(self._series.values()):
            if isinstance(series, Histogram):
                self._write_histogram(labels, series, lines)
            else:
                braced = f"{{{labels}}}" if labels else ""
                lines.append(f"{self.name}{braced} {java_double(series.value)}\n")
        return "".join(lines)

    def _write_histogram(self, labels: str, series: Histogram, lines: list[str]) -> None:
        name, total = self.name, 0
        counts = list(series.counts)
        if not any(counts):
            return  # else the empty buckets of models without requests would be most of the text
        for edge, total in zip(self._edges, accumulate(counts), strict=True):
            lines.append(f'{name}_bucket{{{labels}le="{edge}",}} {total}.0\n')
        braced = f"{{{labels}}}" if labels else ""
        lines.append(f"{name}_count{braced} {total}.0\n{name}_sum{braced} {java_double(series.sum)}\n")

    def _check(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.name} is a {self.kind}; a metric is one of {', '.join(KINDS)}")
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of a metric: letters, digits, _ and : are, digits not first")
        for label in self.labels:
            if not _LABEL.fullmatch(label) or (label == "le" and self.kind == "histogram"):
                raise ValueError(f"{label!r} is no label that {self.name} can have: letters, digits and _ are")
        if len(set(self.labels)) < len(self.labels):
            raise ValueError(f"{self.name} has a label twice: {', '.join(self.labels)}")


def java_double(value: float) -> str:
    """Return a number as Java prints a double and Prometheus reads it: 3.0, 1.5447791192E7, 1.0E-5, NaN, +Inf."""
    if 1e-3 <= abs(value) < 1e7 or value == 0:
        return repr(float(value))
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    sign, digits, exponent = Decimal(repr(float(value))).normalize().as_tuple()
    assert isinstance(exponent, int)
    first, *rest = map(str, digits)
    return f"{'-' * sign}{first}.{''.join(rest) or '0'}E{exponent + len(rest)}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
