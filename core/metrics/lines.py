"""The lines of ts_metrics.log and model_metrics.log, in TorchServe's format. The log's thread makes their text."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import time
from typing import Protocol

from ..wire.messages import Sample
from .family import Family, java_double
from .series import Counter, Series

TS_METRICS, MODEL_METRICS = "TS_METRICS", "MODEL_METRICS"


class Lines(Protocol):
    """An entry of one or more lines for the log: `take` yields each line's seconds since the epoch, text and request
    ids.

    A line is yielded once: a second `take` yields only what is new.
    """

    def take(self) -> Iterator[tuple[float, str, str]]: ...


Put = Callable[[str, Lines], bool]  # returns False if the entry was not accepted; it may be put again


class ServerLines:
    """The server's series with new values that have not been written, each once, however often it has changed.

    A busy server so writes a few lines per round of the log instead of seven per request, and their sums are the same.
    """

    __slots__ = ("_put", "_waiting", "asked")

    def __init__(self, put: Put) -> None:
        self._put = put
        self._waiting: deque[Logged] = deque()
        self.asked = False  # whether this entry is in the log's queue

    def add(self, logged: Logged) -> None:
        if not logged.waits:
            logged.waits = True
            self._waiting.append(logged)
        if not self.asked:
            self.asked = self._put(TS_METRICS, self)

    def take(self) -> Iterator[tuple[float, str, str]]:
        """Yield the lines. The log's thread calls this while the event loop goes on counting."""
        self.asked = False
        at = time()
        while self._waiting:
            logged = self._waiting.popleft()
            logged.waits = False  # before the value is read: a later change has to become a line of its own
            text = logged.text(at)
            if text:
                yield at, text, ""


class ModelLines:
    """The values that a handler emitted, each for the request that it named or for all of the batch."""

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


class Gathered:
    """The lines of several batches, in order."""

    __slots__ = ("_lines",)

    def __init__(self, lines: Sequence[ModelLines]) -> None:
        self._lines = lines

    def take(self) -> Iterator[tuple[float, str, str]]:
        for lines in self._lines:
            yield from lines.take()


class Logged:
    """A series whose last value is also written to the log, under its family's labels except the host's."""

    __slots__ = ("_after", "_before", "_last", "_lines", "_series", "waits")

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
        self._last = 0.0
        self.waits = False

    def update(self, value: float, /) -> None:
        self._series.update(value)
        self._last = value
        if not self.waits or not self._lines.asked:
            self._lines.add(self)

    def update_all(self, values: Sequence[float], /) -> None:
        self._series.update_all(values)
        self._last = values[-1] if values else self._last
        if not self.waits or not self._lines.asked:
            self._lines.add(self)

    def text(self, at: float) -> str:
        """Return the line of the new value, "" if another line has told it already."""
        return self._line(self._last, at)

    def _line(self, value: float, at: float) -> str:
        return f"{self._before}{java_double(round(value, 3))}{self._after}{int(at)}"


class LoggedCounter(Logged):
    """A counter whose line tells by how much it has grown since its previous line."""

    __slots__ = ("_counter", "_written")

    def __init__(
        self, counter: Counter, family: Family, unit: str, values: Sequence[str], host: str, lines: ServerLines
    ) -> None:
        super().__init__(counter, family, unit, values, host, lines)
        self._counter = counter
        self._written = counter.value  # the total that lines have told; used by the log's thread alone

    def update(self, value: float, /) -> None:
        self._counter.value += value
        if not self.waits or not self._lines.asked:
            self._lines.add(self)

    def update_all(self, values: Sequence[float], /) -> None:
        self.update(sum(values))

    def text(self, at: float) -> str:
        total = self._counter.value
        grown, self._written = total - self._written, total
        return self._line(grown, at) if grown else ""
