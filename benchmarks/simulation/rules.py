"""The rules of other servers, as their sources and papers state them (docs/scheduler.md)."""

from __future__ import annotations

from typing import ClassVar

from torchserve.scheduler.job import ReleaseReason
from torchserve.scheduler.rules import Decision, Fixed, QueueView, release_at


class PickUp(Fixed):
    """The rule of TorchServe 0.12 and mosec: the delay counts from when a worker picked up the first job."""

    __slots__ = ()

    def decide(self, view: QueueView) -> Decision:
        if view.queued >= self._size:
            return ReleaseReason.FULL
        return release_at(view.since + self._delay, view.now)


class Deferred(Fixed):
    """The rule of Symphony: hold the batch until one more job would make the oldest one late; the delay is the SLO.

    Jobs that would be late are refused, as in that paper, by the same estimates as `adaptive`.
    """

    __slots__ = ()
    uses_latency: ClassVar[bool] = True

    def decide(self, view: QueueView) -> Decision:
        if view.queued >= self._size:
            return ReleaseReason.FULL
        return release_at(view.oldest_arrival + self._delay - view.latency.p90(view.queued + 1), view.now)
