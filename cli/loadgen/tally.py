"""The counts and latencies of a run."""

from __future__ import annotations

from dataclasses import dataclass, field

from .histogram import Histogram

RIGHT, REFUSED, STATUS, WRONG, RESET, TIMEOUT, CONNECT = (
    "right", "refused", "bad status", "wrong answer", "connection lost", "no answer in time", "no connection",
)  # fmt: skip
FAULTS = (STATUS, WRONG, RESET, TIMEOUT, CONNECT)
REFUSALS = frozenset({408, 429, 503})  # statuses by which a server says that it is busy
RPC_REFUSALS = frozenset({8})  # the same by gRPC: RESOURCE_EXHAUSTED. UNAVAILABLE is also what a broken handler gives
_TEXTS = 5


@dataclass(slots=True)
class Tally:
    """A tally of the requests that were due while the clock ran.

    `offered` counts them all, `good` those answered correctly within the SLO. `ended` counts the correct answers that
    came while the clock ran, whenever their requests were due. `waited` counts requests that had to wait for a
    connection.
    """

    offered: int = 0
    ended: int = 0
    good: int = 0
    waited: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    statuses: dict[int, int] = field(default_factory=dict)
    latency: Histogram = field(default_factory=Histogram)  # of correct answers, from when the request was due
    refusal: Histogram = field(default_factory=Histogram)
    first: Histogram = field(default_factory=Histogram)  # until the first chunk of a streamed response
    gap: Histogram = field(default_factory=Histogram)  # between chunks
    late: Histogram = field(default_factory=Histogram)  # from when a request was due until the generator sent it
    sent_bytes: int = 0
    received_bytes: int = 0
    texts: list[str] = field(default_factory=list)
    by_second: dict[int, list[int]] = field(default_factory=dict)  # second -> [requests due, of these good]
    last: float = 0.0  # time when the last request ended
    busy: float = 0.0  # processor seconds of all generator processes
    busiest: float = 0.0  # processor seconds of the busiest process

    def count(self, kind: str, text: str = "") -> None:
        """Count a request under `kind`, and keep `text` as an example of the first few."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if text and len(self.texts) < _TEXTS:
            self.texts.append(f"{kind}: {text}")

    def merge(self, other: Tally) -> None:
        """Add the counts of another process."""
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
        """Return the number of correct answers."""
        return self.counts.get(RIGHT, 0)

    @property
    def faults(self) -> int:
        """Return the number of requests that were neither answered correctly nor refused."""
        return sum(self.counts.get(kind, 0) for kind in FAULTS)
