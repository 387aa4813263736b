"""What became of the requests of a run: how many of each kind, and how long they took."""

from __future__ import annotations

from dataclasses import dataclass, field

from .histogram import Histogram

RIGHT, REFUSED, STATUS, WRONG, RESET, TIMEOUT, CONNECT = (
    "right", "refused", "bad status", "wrong answer", "connection lost", "no answer in time", "no connection",
)  # fmt: skip
FAULTS = (STATUS, WRONG, RESET, TIMEOUT, CONNECT)
REFUSALS = frozenset({408, 429, 503})  # the server is busy, and says so
_TEXTS = 5


@dataclass(slots=True)
class Tally:
    """While the clock ran: `offered` were due, `good` of them right within the SLO; `ended` right answers came."""

    offered: int = 0
    ended: int = 0
    good: int = 0
    waited: int = 0  # for a connection, because as many as are allowed were busy
    counts: dict[str, int] = field(default_factory=dict)
    statuses: dict[int, int] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)  # of right answers, from when the request was due
    refusal: Histogram = field(default_factory=Histogram)
    first: Histogram = field(default_factory=Histogram)  # until the first chunk of a streamed answer
    gap: Histogram = field(default_factory=Histogram)  # between chunks
    late: Histogram = field(default_factory=Histogram)  # of the generator: from when a request was due to its turn
    sent_bytes: int = 0
    received_bytes: int = 0
    texts: list[str] = field(default_factory=list)
    by_second: dict[int, list[int]] = field(default_factory=dict)  # since the begin: how many were due, and good
    last: float = 0.0  # when the last of them was over
    busy: float = 0.0  # processor seconds of the generator
    busiest: float = 0.0  # of one of its processes

    def count(self, kind: str, text: str = "") -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if text and len(self.texts) < _TEXTS:
            self.texts.append(f"{kind}: {text}")

    def merge(self, other: Tally) -> None:
        """Adds what another process has counted."""
        for name in ("offered", "ended", "good", "waited", "sent_bytes", "received_bytes", "busy"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("last", "busiest"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        for name in ("latency", "refusal", "first", "gap", "late"):
            getattr(self, name).merge(getattr(other, name))
        for kind, count in other.counts.items():
            self.counts[kind] = self.counts.get(kind, 0) + count
        for second, (due, good) in other.by_second.items():
            mine = self.by_second.setdefault(second, [0, 0])
            mine[0] += due
            mine[1] += good
        for status, count in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + count
        self.texts = [*self.texts, *other.texts][:_TEXTS]

    @property
    def right(self) -> int:
        return self.counts.get(RIGHT, 0)

    @property
    def faults(self) -> int:
        """Requests that were neither answered rightly nor refused."""
        return sum(self.counts.get(kind, 0) for kind in FAULTS)
