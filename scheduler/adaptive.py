"""Adaptive, the default rule: batches as large as they pay, and no wait that is not expected to pay. Pure.

A free worker takes what is there, in the size that clears the queue soonest. It waits only for bodies that are arriving
and for clients that meet each answer with their next request, and only while sharing a batch saves it more time than it
stands idle: of arrivals at a pace of their own, those that come meanwhile have the next batch.
"""

from __future__ import annotations

from .job import Cause
from .latency_model import Costs
from .rules import Verdict

SURE = 0.8  # least share of like events that were soon followed by an arrival, for the next one to be waited for
AHEAD_BELOW = 0.02  # s: of longer batches the moment between two, which handing over ahead saves, is nothing
CROWD = 4.0  # times as fast as on the whole: so fast come those whom an answer set off, and nobody by chance for long
_WEIGHT = 0.1  # of the latest event in averages of a burst
_SLOW = 0.02  # in the average of all


class _Sequel:
    """How often, and how soon, events of one kind are followed by an arrival."""

    __slots__ = ("gap", "share")

    def __init__(self) -> None:
        self.share = 0.0
        self.gap = 0.0  # mean (s), of those that were

    def seen(self, gap: float, patience: float) -> None:
        if gap > patience:
            self.missed()
            return
        self.gap += (gap - self.gap) * (_WEIGHT if self.share else 1.0)
        self.share += _WEIGHT * (1.0 - self.share)

    def missed(self) -> None:
        self.share -= _WEIGHT * self.share


class Adaptive:
    """Never more than `batch_size`, never longer than `max_batch_delay` (s)."""

    __slots__ = (
        "_after",
        "_after_answers",
        "_after_arrival",
        "_delay",
        "_last",
        "_pace",
        "_patience",
        "_previous",
        "_size",
    )
    learns = True

    def __init__(self, batch_size: int, max_batch_delay: float) -> None:
        self._size = batch_size
        self._delay = max_batch_delay
        self._patience = 0.0  # what a shared batch saves (s): what comes within it of something else belongs to it
        self._after_arrival = _Sequel()
        self._after_answers = _Sequel()  # clients in a loop send their next request as soon as they have an answer
        self._after = self._after_arrival  # the sequel of the latest event, which was at `_last`
        self._last = float("-inf")
        self._previous = float("-inf")  # arrival
        self._pace = 0.0  # mean time (s) between arrivals

    def arrived(self, now: float) -> None:
        self._after.seen(now - self._last, self._patience)
        self._after, self._last = self._after_arrival, now
        if self._previous > float("-inf"):
            self._pace += _SLOW * (now - self._previous - self._pace)
        self._previous = now

    def ended(self, now: float) -> None:
        if now - self._last > self._patience:
            self._after.missed()
        self._after, self._last = self._after_answers, now

    def size(self, queued: int, costs: Costs) -> int:
        return costs.choose(queued)

    def decide(
        self, queued: int, oldest: float, since: float, announced: int, latest: float, now: float, costs: Costs
    ) -> Verdict:
        if queued >= costs.ideal:
            return Cause.FULL
        self._patience = costs.merging(1)
        after = self._after
        if not announced and after.share < SURE:
            return Cause.FREE_WORKER
        saves = costs.merging(queued) if costs.known else self._delay
        due = now
        if announced:
            due = min(min(oldest, latest) + self._delay, max(since, latest) + saves)
        if after.share >= SURE and 2.0 * after.gap <= saves and CROWD * after.gap <= self._pace:
            # Twice the usual gap without an arrival: the burst is over.
            rest = min(self._last + 2.0 * after.gap, since + costs.typical(queued), oldest + self._delay)
            due = max(due, rest)
        if due > now:
            return due
        return Cause.DELAY if announced else Cause.FREE_WORKER


def may_go_ahead(queued: int, costs: Costs) -> bool:
    """Whether a worker that still runs a batch may have the next one already: it would not get better by waiting, and
    is so short that the moment between the two counts.
    """
    return costs.known and queued >= (ideal := costs.ideal) and costs.typical(ideal) <= AHEAD_BELOW
