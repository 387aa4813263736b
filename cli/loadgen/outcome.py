"""The figures of a run, and the reasons why they may not be valid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .recovery import recovery
from .scenario import Closed, Open, Scenario
from .steady import Window
from .tally import Tally

_BUSY = 0.95  # share of a core above which a generator process is what limits a closed loop


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a run.

    `seconds` is the time that was measured, after `warmup` seconds. `settled` says whether the warm-up's last windows
    agreed.
    """

    scenario: Scenario
    tally: Tally
    seconds: float
    warmup: float
    windows: list[Window]
    settled: bool
    processes: int

    @property
    def rate(self) -> float:
        """Return correct answers per second: those that came while the clock ran, or all of a fixed number
        of requests.
        """
        ended = self.tally.right if self.scenario.requests is not None else self.tally.ended
        return ended / self.seconds

    @property
    def offered(self) -> float:
        """Return the requests per second that were due."""
        return self.tally.offered / self.seconds

    @property
    def goodput(self) -> float | None:
        """Return correct answers within the SLO per second, of the requests that were due while the clock ran; None
        without an SLO.
        """
        return self.tally.good / self.seconds if self.scenario.slo is not None else None

    @property
    def late(self) -> float | None:
        """Return the seconds by which the generator was late at p99, or None for a closed loop."""
        return self.tally.late.quantile(0.99) if isinstance(self.scenario.load, Open) else None

    def faults(self) -> list[str]:
        """Return the reasons why this run is no valid measurement of the server."""
        tally, found = self.tally, []
        if tally.right + tally.faults + self.refused == 0:
            found.append("no request was made")
        if tally.faults:
            kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.counts.items()) if kind != "right")
            found.append(f"{tally.faults} of {tally.offered} requests failed ({kinds}): " + "; ".join(tally.texts))
        bound = self.scenario.lateness_bound()
        if self.late is not None and self.late > bound:
            found.append(
                f"the generator was late: by {self.late * 1e3:.2f} ms at p99, {bound * 1e3:.2f} ms are allowed"
                " (give it cores of its own, or more processes, or ask for less)"
            )
        return found

    def remarks(self) -> list[str]:
        """Return what a reader should know in order to judge the figures."""
        said, tally = [], self.tally
        if not self.settled:
            said.append(f"the warm-up did not settle in {self.warmup:.0f} s: its last windows differ")
        if isinstance(self.scenario.load, Closed) and tally.busiest > _BUSY * self.seconds:
            said.append("the generator used a whole core: the server may be faster than this")
        if tally.waited:
            said.append(
                f"{tally.waited} of {tally.offered} requests waited for one of {self.scenario.load.connections}"
                f" {'calls in flight' if self.scenario.rpc else 'connections'} (which counts as latency)"
            )
        return said

    @property
    def recovery(self) -> int | None:
        """Return the seconds after a spike until requests are answered within the SLO again.

        None means that there was no spike, or that the server did not recover within the run.
        """
        load = self.scenario.load
        if not isinstance(load, Open) or load.arrivals != "spike":
            return None
        return recovery(self.tally.by_second, math.ceil(load.spike[1]), math.floor(self.seconds))

    @property
    def refused(self) -> int:
        """Return the number of requests that the server refused as busy."""
        return self.tally.counts.get("refused", 0)

    def as_json(self) -> dict[str, Any]:
        """Return all figures, latencies in milliseconds. The keys are public and must not change."""
        tally, load = self.tally, self.scenario.load
        shape: dict[str, Any] = {"connections": load.connections}
        if self.scenario.rpc:
            shape["channels"] = self.scenario.channels
        if isinstance(load, Open):
            shape |= {"rate": load.rate, "arrivals": load.arrivals}
        return {
            "valid": not self.faults(),
            "faults": self.faults(),
            "remarks": self.remarks(),
            "load": {"loop": "open" if isinstance(load, Open) else "closed", **shape, "seed": self.scenario.seed},
            "seconds": self.seconds,
            "warmup_seconds": self.warmup,
            "settled": self.settled,
            "generator": {
                "processes": self.processes,
                "late_p99_ms": _ms(self.late),
                "late_bound_ms": _ms(self.scenario.lateness_bound()) if isinstance(load, Open) else None,
                "cpu_seconds": tally.busy,
            },
            "requests": {"offered": tally.offered, **tally.counts},
            "statuses": {str(status): count for status, count in sorted(tally.statuses.items())},
            "requests_per_second": {"offered": self.offered, "answered": self.rate, "within_slo": self.goodput},
            "slo_ms": _ms(self.scenario.slo),
            "recovery_seconds": self.recovery,
            "by_second": [[second, *counts] for second, counts in sorted(tally.by_second.items())],
            "latency_ms": _quantiles(tally.latency),
            "refusal_ms": _quantiles(tally.refusal),
            "first_chunk_ms": _quantiles(tally.first),
            "between_chunks_ms": _quantiles(tally.gap),
            "bytes": {"sent": tally.sent_bytes, "received": tally.received_bytes},
        }


def _quantiles(histogram: Any) -> dict[str, float | None] | None:
    if not histogram.count:
        return None
    return {
        "count": histogram.count,
        "mean": _ms(histogram.mean),
        "p50": _ms(histogram.quantile(0.5)),
        "p90": _ms(histogram.tail(0.9)),
        "p99": _ms(histogram.tail(0.99)),
        "p99.9": _ms(histogram.tail(0.999)),
        "max": _ms(histogram.longest),
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1e3, 4)
