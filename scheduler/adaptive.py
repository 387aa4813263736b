"""Adaptive, the default rule: batches as large as they pay, and no wait that is not expected to pay. Pure.

Size. A free worker takes what is there, in the size that clears the queue soonest (`LatencyModel.next_size`).

Waiting. A worker that idles while jobs wait loses time; a batch that is shared by one more job saves time, namely
`LatencyModel.marginal_saving`. So the worker waits only where another job is expected to arrive within what that job
would save. Two signs of such a job count:

- A body is arriving: its head has been read, so the request is certain and only the moment is open.
- A burst is going on. Clients that send their next request once they have an answer (closed loops) arrive in bursts
  right after a batch ended. Whether the latest event (an arrival, or the end of a batch) will be followed by another
  arrival is learnt by `_FollowUps`: the share of like events that were, and the mean gap if so. The next one is waited
  for if that share is at least BURST_SHARE and the gap is BURST_FACTOR times shorter than the mean gap of all arrivals
  (otherwise it is coincidence). After twice the usual gap without an arrival the burst is over.

Independent arrivals (Poisson) are never waited for: those that come meanwhile make the next batch larger anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from .job import ReleaseReason
from .latency_model import LatencyModel
from .rules import Decision, QueueView

BURST_SHARE = 0.8  # least share of like events that were soon followed by an arrival, for the next one to be waited for
BURST_FACTOR = 4.0  # how many times faster than the mean arrivals must follow: chance is not as fast for long
PREFETCH_BELOW = 0.02  # s: in longer batches the gap between two, which prefetching closes, does not matter
_EVENT_WEIGHT = 0.1  # of the latest event, in the moving averages of a burst
_ARRIVAL_WEIGHT = 0.02  # of the latest arrival, in the moving average over all arrivals


class _FollowUps:
    """The moving averages of how often (`share`), and how soon (`gap`, s), events of one kind precede an arrival."""

    __slots__ = ("gap", "share")

    def __init__(self) -> None:
        self.share = 0.0
        self.gap = 0.0

    def missed(self) -> None:
        """Note that no arrival followed in time."""
        self.share -= _EVENT_WEIGHT * self.share


class Adaptive:
    """A rule that waits only where sharing a batch saves the worker more time than it idles meanwhile.

    A batch has at most `batch_size` jobs, and no job waits longer than `max_batch_delay` s for another one.
    """

    __slots__ = (
        "_after_answers", "_after_arrival", "_delay", "_latest", "_latest_at", "_mean_gap", "_previous_arrival",
        "_size", "_window",
    )  # fmt: skip
    uses_latency: ClassVar[bool] = True

    def __init__(self, batch_size: int, max_batch_delay: float) -> None:
        self._size = batch_size
        self._delay = max_batch_delay
        self._window = 0.0  # s that a shared batch saves: an arrival within it of an event is taken to follow from it
        self._after_arrival = _FollowUps()
        self._after_answers = _FollowUps()
        self._latest = self._after_arrival  # the kind of the latest event, which happened at `_latest_at`
        self._latest_at = float("-inf")
        self._previous_arrival = float("-inf")
        self._mean_gap = 0.0  # s between arrivals

    def arrived(self, times: Sequence[float]) -> None:
        # One call for what has come since the last one: a call for each job would take longer than what it does.
        latest, at, before, mean_gap = self._latest, self._latest_at, self._previous_arrival, self._mean_gap
        for now in times:
            gap = now - at
            if gap > self._window:  # it doesn't follow from the latest event
                latest.share -= _EVENT_WEIGHT * latest.share
            else:
                latest.gap += (gap - latest.gap) * (_EVENT_WEIGHT if latest.share else 1.0)
                latest.share += _EVENT_WEIGHT * (1.0 - latest.share)
            if before > float("-inf"):
                mean_gap += _ARRIVAL_WEIGHT * (now - before - mean_gap)
            latest, at, before = self._after_arrival, now, now
        self._latest, self._latest_at, self._previous_arrival, self._mean_gap = latest, at, before, mean_gap

    def ended(self, now: float) -> None:
        if now - self._latest_at > self._window:
            self._latest.missed()
        self._latest, self._latest_at = self._after_answers, now

    def size(self, queued: int, latency: LatencyModel) -> int:
        return latency.next_size(queued)

    def decide(self, view: QueueView) -> Decision:
        latency = view.latency
        if view.queued >= latency.best_size:
            return ReleaseReason.FULL
        self._window = latency.marginal_saving(1)
        burst = self._latest.share >= BURST_SHARE
        if not view.bodies_arriving and not burst:
            return ReleaseReason.FREE_WORKER
        saving = latency.marginal_saving(view.queued) if latency.known else self._delay
        due = view.now
        if view.bodies_arriving:
            limit = min(view.oldest_arrival, view.latest_body) + self._delay
            due = min(limit, max(view.since, view.latest_body) + saving)
        if burst and 2.0 * self._latest.gap <= saving and BURST_FACTOR * self._latest.gap <= self._mean_gap:
            due = max(due, self._burst_over_at(view))
        if due > view.now:
            return due
        return ReleaseReason.DELAY if view.bodies_arriving else ReleaseReason.FREE_WORKER

    def _burst_over_at(self, view: QueueView) -> float:
        """Return when the burst is over if nothing arrives, or the worker has idled for as long as the batch takes."""
        return min(
            self._latest_at + 2.0 * self._latest.gap,
            view.since + view.latency.median(view.queued),
            view.oldest_arrival + self._delay,
        )


def may_prefetch(queued: int, latency: LatencyModel) -> bool:
    """Return whether a worker that still runs a batch may be handed its next one out of `queued` jobs already.

    It may if waiting would not make that batch better, and batches are so short that the gap between two counts.
    """
    return latency.known and queued >= (best := latency.best_size) and latency.median(best) <= PREFETCH_BELOW
