"""The recorder, which counts how each request ended: in the tally of the run, or in a window of the warm-up."""

from __future__ import annotations

import math

from .channel import Channel
from .checks import shortened
from .histogram import Histogram
from .response import Response
from .rpc_answer import RpcAnswer
from .scenario import Scenario
from .tally import CONNECT, REFUSALS, REFUSED, RIGHT, RPC_REFUSALS, STATUS, WRONG, Tally

# By these a client says in which time it needs its answer; a status then says that the time has passed in the queue.
_DEADLINES = {"x-request-timeout-ms", "grpc-timeout"}
_TOO_LATE, _RPC_TOO_LATE = 504, 4


class Recorder:
    """A recorder of requests.

    A request counts in the tally if it was due between `begin` and `end`. Both are infinite until the warm-up is over.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._slo = scenario.slo if scenario.slo is not None else math.inf
        self._right = 0 if scenario.rpc else 200
        self._refusals = RPC_REFUSALS if scenario.rpc else REFUSALS
        if _DEADLINES & set(map(str.lower, scenario.headers)):
            self._refusals |= {_RPC_TOO_LATE if scenario.rpc else _TOO_LATE}
        self._sizes = [len(payload.sent) for payload in scenario.payloads]
        self.begin = self.end = math.inf
        self.tally = Tally()
        self.window = Histogram()

    def counts(self, due: float) -> bool:
        """Return whether a request that was due at `due` counts in the tally."""
        return self.begin <= due < self.end

    def record_start(self, due: float, now: float) -> None:
        """Record that a request which was due at `due` is being sent `now`."""
        if self.begin <= due < self.end:
            self.tally.offered += 1
            self.tally.late.add(now - due)
            self._second(due)[0] += 1

    def record_wait(self, due: float) -> None:
        """Record that a request has to wait, because all allowed connections are busy."""
        self.tally.waited += self.counts(due)

    def record_response(self, channel: Channel, response: Response | RpcAnswer, now: float) -> None:
        """Check a response and record it as correct, wrong, refused or failed."""
        due, place = channel.due, channel.place
        body = self._scenario.payloads[place].body
        counts = self.begin <= due < self.end
        if counts:
            self.tally.statuses[response.status] = self.tally.statuses.get(response.status, 0) + 1
            self.tally.sent_bytes += self._sizes[place]
            self.tally.received_bytes += len(response.body)
        if response.status != self._right:
            self._record_bad_status(response, due, now)
        elif not self._scenario.check(place, body, response.body):
            name = self._scenario.payloads[place].name
            self.record_failure(WRONG, f"{name}: {shortened(response.body)}", due, now)
        else:
            self._record_right(channel, response, now, counts)

    def record_failure(self, kind: str, text: str, due: float, now: float) -> None:
        """Record a request that has no correct answer. `kind` is one of the tally's kinds."""
        if self.counts(due):
            self.tally.count(kind, text)
            self.tally.last = max(self.tally.last, now)

    def record_no_connection(self, text: str, due: float, now: float) -> None:
        """Record a request for which the server accepted no connection."""
        self.record_failure(CONNECT, text, due, now)

    def _record_bad_status(self, response: Response | RpcAnswer, due: float, now: float) -> None:
        refused = response.status in self._refusals
        self.record_failure(REFUSED if refused else STATUS, response.cause, due, now)
        if refused and self.counts(due):
            self.tally.refusal.add(now - due)

    def _record_right(self, channel: Channel, response: Response | RpcAnswer, now: float, counts: bool) -> None:
        took, tally = now - channel.due, self.tally
        self.window.add(took)
        if self.begin <= now < self.end:
            tally.ended += 1
        if not counts:
            return
        tally.counts[RIGHT] = tally.counts.get(RIGHT, 0) + 1
        tally.latency.add(took)
        if took <= self._slo:
            tally.good += 1
            self._second(channel.due)[1] += 1
        tally.last = max(tally.last, now)
        if response.chunks:
            tally.first.add(channel.first - channel.due)
            for gap in channel.gaps:
                tally.gap.add(gap)

    def _second(self, due: float) -> list[int]:
        second = int(due - self.begin)
        found = self.tally.by_second.get(second)
        if found is None:
            found = self.tally.by_second[second] = [0, 0]
        return found

    def take_window(self) -> Histogram:
        """Return the latencies of the correct answers since the last call."""
        taken, self.window = self.window, Histogram()
        return taken
