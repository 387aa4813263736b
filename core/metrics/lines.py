"""Lines of ts_metrics.log and model_metrics.log, as TorchServe writes them; the thread that writes makes the text."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import time
from typing import Protocol

from ..wire.messages import Sample
from .family import Family, java_double
from .series import Series

BACKLOG = 50_000  # values kept for a disk that does not keep up; the oldest are dropped
TS_METRICS, MODEL_METRICS = "TS_METRICS", "MODEL_METRICS"


class Lines(Protocol):
    """What is put: `take` gives each line's seconds since the epoch, text and request ids, and gives it once."""

    def take(self) -> Iterator[tuple[float, str, str]]: ...


Put = Callable[[str, Lines], None]


class ServerLines:
    """New values of the server's metrics that wait to be written: one put for all that come until they are taken."""

    __slots__ = ("_put", "_waiting")

    def __init__(self, put: Put) -> None:
        self._put = put
        self._waiting: deque[tuple[float, Logged, float]] = deque(maxlen=BACKLOG)

    def add(self, logged: Logged, value: float) -> None:
        waiting = self._waiting
        waiting.append((time(), logged, value))
        # Others that wait have been put, and who takes them takes this one too; unless that came to nothing.
        if len(waiting) in {1, BACKLOG}:
            self._put(TS_METRICS, self)

    def take(self) -> Iterator[tuple[float, str, str]]:
        waiting = self._waiting
        while waiting:
            at, logged, value = waiting.popleft()
            yield at, logged.text(at, value), ""


class ModelLines:
    """Values that a handler emitted, each for the request that it named or for all of the batch."""

    __slots__ = ("_at", "_counted", "_host", "_request_ids")

    def __init__(self, counted: Sequence[tuple[Sample, str]], host: str, request_ids: Sequence[str]) -> None:
        self._at = time()
        self._counted = counted
        self._host = host
        self._request_ids = request_ids

    def take(self) -> Iterator[tuple[float, str, str]]:
        at, ids = self._at, self._request_ids
        for sample, unit in self._counted:
            index = sample.index
            named = ids[index] if index is not None and 0 <= index < len(ids) else ",".join(ids)
            dimensions = ",".join([f"{name}:{value}" for name, value in sample.dimensions])
            text = (
                f"{sample.name}.{unit}:{java_double(sample.value)}|#{dimensions}"
                f"|#hostname:{self._host},requestID:{named},timestamp:{int(at)}"
            )
            yield at, text, named


class Logged:
    """A series whose new values are written down too, under their family's labels except the host's."""

    __slots__ = ("_after", "_before", "_lines", "_series")

    def __init__(
        self, series: Series, family: Family, unit: str, values: Sequence[str], host: str, lines: ServerLines
    ) -> None:
        pairs = [
            f"{name}:{value}"
            for name, value in zip(family.labels, values, strict=True)
            if name.lower() != "hostname"
        ]  # fmt: skip
        self._series = series
        self._before = f"{family.name}.{unit}:"
        self._after = f"|#{','.join(pairs)}|#hostname:{host},timestamp:"
        self._lines = lines

    def update(self, value: float, /) -> None:
        self._series.update(value)
        self._lines.add(self, value)

    def text(self, at: float, value: float) -> str:
        return f"{self._before}{java_double(round(value, 3))}{self._after}{int(at)}"
