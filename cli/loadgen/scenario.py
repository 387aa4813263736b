"""What a run is: where to, what, how much of it, for how long. Goes to every process of the generator."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...core.config.address import Address
from .arrivals import bursty, poisson, recorded, spike
from .checks import Check, any_answer
from .payload import Payload

ENDLESS = ("poisson", "bursty", "spike")  # kinds of arrivals; any other is the path of a trace


@dataclass(frozen=True, slots=True)
class Closed:
    """`connections` clients, each of which asks again as soon as it is answered."""

    connections: int


@dataclass(frozen=True, slots=True)
class Open:
    """Requests come when they come, `rate` a second, over as many connections as that needs up to `connections`.

    `arrivals` is poisson, bursty, spike (`factor` times the rate in the seconds `spike`), or the path of a trace.
    """

    rate: float
    arrivals: str = "poisson"
    connections: int = 1024
    spike: tuple[float, float] = (0.0, 0.0)
    factor: float = 2.0

    def times(self, seed: int) -> Iterator[float]:
        """Seconds from the start. The same seed gives the same ones."""
        if self.arrivals == "poisson":
            return poisson(self.rate, seed)
        if self.arrivals == "spike":
            return spike(self.rate, seed, *self.spike, factor=self.factor)
        return bursty(self.rate, seed) if self.arrivals == "bursty" else recorded(Path(self.arrivals), self.rate)

    def warm_times(self, seed: int) -> Iterator[float]:
        """Those of the warm-up: as many a second, evenly bursty or not, without an end."""
        return bursty(self.rate, ~seed) if self.arrivals == "bursty" else poisson(self.rate, ~seed)


@dataclass(frozen=True, slots=True)
class Scenario:
    """`slo`, `timeout` and all other times in seconds. With `requests` it ends after so many, else after `seconds`.

    `most_warmup` seconds without agreement of three windows end the warm-up all the same, and the outcome says so.
    """

    address: Address
    target: str
    payloads: tuple[Payload, ...]
    load: Closed | Open
    seconds: float = 10.0
    requests: int | None = None
    slo: float | None = None
    check: Check = any_answer
    headers: dict[str, str] = field(default_factory=dict)
    timeout: float = 30.0
    seed: int = 1
    window: float = 1.0
    tolerance: float = 0.1
    most_warmup: float = 20.0
    most_late: float | None = None
    processes: int = 1
    verify: bool = False  # of a TLS certificate

    def length(self) -> float:
        """Seconds to measure: `seconds`, or less where a trace is shorter."""
        if isinstance(self.load, Closed) or self.load.arrivals in ENDLESS:
            return self.seconds
        *_, last = self.load.times(self.seed)
        return min(self.seconds, last)

    @property
    def most_windows(self) -> int:
        """Of the warm-up; 0 where there is to be none."""
        return max(round(self.most_warmup / self.window), 0)

    @property
    def host(self) -> str:
        return "localhost" if self.address.path else str(self.address).partition("://")[2]

    def requests_ready(self) -> list[bytes]:
        """Each payload's request."""
        return [payload.request(self.target, self.host, self.headers) for payload in self.payloads]

    def lateness_bound(self) -> float:
        """What the generator's lateness may be at p99: a twentieth of the SLO where there is one."""
        if self.most_late is not None:
            return self.most_late
        return self.slo / 20 if self.slo is not None else 0.001


def share(times: Iterator[float], place: int, parts: int) -> Iterator[float]:
    """Every `parts`-th arrival from `place` on: together the parts are the whole schedule."""
    return itertools.islice(times, place, None, parts)


def split(whole: int, place: int, parts: int) -> int:
    """How many of `whole` fall to the part at `place`; as even as can be."""
    return whole // parts + (place < whole % parts)
