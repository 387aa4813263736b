"""Lines of ts_metrics.log and model_metrics.log, as TorchServe writes them; the thread that writes makes the text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import time
from typing import Protocol

from ..wire.messages import Sample
from .family import Family, java_double
from .series import Series

TS_METRICS, MODEL_METRICS = "TS_METRICS", "MODEL_METRICS"


class Line(Protocol):
    """What is put: `at` is seconds since the epoch, `text` the line without its time."""

    @property
    def at(self) -> float: ...
    @property
    def request_id(self) -> str: ...
    def text(self) -> str: ...


Put = Callable[[str, Line], None]


class ServerLine:
    """One new value of a server's metric. `at` is seconds since the epoch."""

    __slots__ = ("_after", "_before", "_value", "at")

    request_id = ""

    def __init__(self, at: float, before: str, value: float, after: str) -> None:
        self.at = at
        self._before = before
        self._value = value
        self._after = after

    def text(self) -> str:
        return f"{self._before}{java_double(self._value)}{self._after}{int(self.at)}"


class ModelLine:
    """One value that a handler emitted, for the request that it named or for all of the batch."""

    __slots__ = ("_host", "_sample", "_unit", "at", "request_id")

    def __init__(self, at: float, sample: Sample, unit: str, host: str, request_ids: Sequence[str]) -> None:
        index = sample.index
        one = index is not None and 0 <= index < len(request_ids)
        self.at = at
        self.request_id = request_ids[index] if one and index is not None else ",".join(request_ids)
        self._sample = sample
        self._unit = unit
        self._host = host

    def text(self) -> str:
        sample = self._sample
        dimensions = ",".join([f"{name}:{value}" for name, value in sample.dimensions])
        return (
            f"{sample.name}.{self._unit}:{java_double(sample.value)}|#{dimensions}"
            f"|#hostname:{self._host},requestID:{self.request_id},timestamp:{int(self.at)}"
        )


class Logged:
    """A series whose new values are written down too, under their family's labels except the host's."""

    __slots__ = ("_after", "_before", "_put", "_series")

    def __init__(self, series: Series, family: Family, unit: str, values: Sequence[str], host: str, put: Put) -> None:
        pairs = [
            f"{name}:{value}"
            for name, value in zip(family.labels, values, strict=True)
            if name.lower() != "hostname"
        ]  # fmt: skip
        self._series = series
        self._before = f"{family.name}.{unit}:"
        self._after = f"|#{','.join(pairs)}|#hostname:{host},timestamp:"
        self._put = put

    def update(self, value: float, /) -> None:
        self._series.update(value)
        self._put(TS_METRICS, ServerLine(time(), self._before, value, self._after))
