"""A scenario: what is sent where, at which rate, and for how long. It is sent to each process of the generator."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...core.config.address import Address
from .arrivals import bursty, poisson, recorded, spike
from .checks import Check, any_answer
from .payload import Payload
from .rpc_answer import whole
from .rpc_request import RpcRequest, host_of, rpc_request

ENDLESS = ("poisson", "bursty", "spike")  # kinds of arrivals; any other value is the path of a trace


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed loop of `connections` clients, each of which sends its next request when it is answered."""

    connections: int


@dataclass(frozen=True, slots=True)
class Open:
    """An open loop of `rate` requests per second over as many connections as needed, at most `connections`.

    `arrivals` is "poisson", "bursty", "spike", or the path of a trace. During the seconds `spike` (begin, end) of a
    "spike" the rate is `factor` times as high.
    """

    rate: float
    arrivals: str = "poisson"
    connections: int = 1024
    spike: tuple[float, float] = (0.0, 0.0)
    factor: float = 2.0

    def times(self, seed: int) -> Iterator[float]:
        """Return the schedule, in seconds from the start. Equal seeds give equal schedules."""
        if self.arrivals == "poisson":
            return poisson(self.rate, seed)
        if self.arrivals == "spike":
            return spike(self.rate, seed, *self.spike, factor=self.factor)
        return bursty(self.rate, seed) if self.arrivals == "bursty" else recorded(Path(self.arrivals), self.rate)

    def warm_times(self, seed: int) -> Iterator[float]:
        """Return the endless schedule of the warm-up, which has the same mean rate."""
        return bursty(self.rate, ~seed) if self.arrivals == "bursty" else poisson(self.rate, ~seed)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A description of a run. All times are in seconds.

    With `requests` the run ends after that many requests, otherwise after `seconds`. The warm-up ends when three
    windows of `window` seconds agree within `tolerance` in rate and median, or after `most_warmup` seconds; then the
    outcome is not `settled`.

    With `rpc` requests are calls of gRPC: `target` is the method's path, what the payloads send are messages, and the
    load's connections are calls in flight on `channels` connections of HTTP/2. `unwrap` finds in a message of an answer
    what is checked, and `streams` says that an answer may have several messages.
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
    verify: bool = False  # whether the TLS certificate must be valid
    rpc: bool = False
    channels: int = 1
    unwrap: Callable[[bytes], bytes] = whole
    streams: bool = False

    def length(self) -> float:
        """Return the seconds to measure: `seconds`, or less if a trace is shorter."""
        if isinstance(self.load, Closed) or self.load.arrivals in ENDLESS:
            return self.seconds
        *_, last = self.load.times(self.seed)
        return min(self.seconds, last)

    @property
    def most_windows(self) -> int:
        """Return the largest number of warm-up windows, 0 for no warm-up."""
        return max(round(self.most_warmup / self.window), 0)

    @property
    def host(self) -> str:
        """Return the value of the Host header."""
        return host_of(self.address)

    def requests_ready(self) -> list[bytes] | list[RpcRequest]:
        """Return what is sent for each payload."""
        if self.rpc:
            return [self.call(payload) for payload in self.payloads]
        return [payload.request(self.target, self.host, self.headers) for payload in self.payloads]

    def call(self, payload: Payload) -> RpcRequest:
        """Return the call that carries this payload."""
        return rpc_request(self.address, self.target, self.headers, payload.sent)

    def lateness_bound(self) -> float:
        """Return by how many seconds the generator may be late at p99 for a valid run.

        Without `most_late` this is a twentieth of the SLO, or one millisecond without an SLO.
        """
        if self.most_late is not None:
            return self.most_late
        return self.slo / 20 if self.slo is not None else 0.001


def share(times: Iterator[float], place: int, parts: int) -> Iterator[float]:
    """Return every `parts`-th arrival, starting at `place`. All parts together are the whole schedule."""
    return itertools.islice(times, place, None, parts)


def split(whole: int, place: int, parts: int) -> int:
    """Return the share of `whole` that the part at `place` gets. Shares differ by 1 at most."""
    return whole // parts + (place < whole % parts)
