"""The rules of other servers, to be compared with: as their sources and papers state them (docs/scheduler.md)."""

from __future__ import annotations

from torchserve.scheduler.job import Cause
from torchserve.scheduler.latency_model import Costs
from torchserve.scheduler.rules import Fixed, Verdict


class PickUp(Fixed):
    """TorchServe 0.12, mosec: the delay counts from when a worker picked up the first job."""

    __slots__ = ()

    def decide(
        self, queued: int, oldest: float, since: float, announced: int, latest: float, now: float, costs: Costs
    ) -> Verdict:
        if queued >= self._size:
            return Cause.FULL
        due = since + self._delay
        return Cause.DELAY if due <= now else due


class Deferred(Fixed):
    """Symphony: hold the batch until with one job more it would be too late for the oldest; the delay is the SLO.

    It refuses what would be late, as that paper's does, by the same estimates as `adaptive`.
    """

    __slots__ = ()
    learns = True

    def decide(
        self, queued: int, oldest: float, since: float, announced: int, latest: float, now: float, costs: Costs
    ) -> Verdict:
        if queued >= self._size:
            return Cause.FULL
        due = oldest + self._delay - costs.upper(queued + 1)
        return Cause.DELAY if due <= now else due
