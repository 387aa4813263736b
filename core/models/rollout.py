"""Rollout: gives a new version more requests step by step while it does as well as the others, or takes all from it.

It looks at one window of `every` seconds after another, as requests end; without requests nothing changes:

- Once more requests of the new version have failed than `max_error_rate` allows of those in the window (of
  `min_requests`, if there are fewer), it steps back at once.
- At the window's end, if `min_requests` of the new version have ended in it, its p99 is compared with that of the other
  versions in the same window, or in the latest window in which these had as many. If it is over `max_p99_ratio` times
  that and over a millisecond more, it steps back; else it steps up.
- With fewer requests, the window goes on.

After a step back the version gets nothing until an operator says so. Pure: the time (s) is an argument.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

from .traffic_plan import WHOLE, RolloutPlan

_MOST_KEPT = 4096  # latencies of a window, the latest, of which the p99 is taken
_SLACK = 0.001  # s by which p99s may differ whatever their ratio


class Rollout:
    """The state of a version's rollout: `state` is stepping, complete or stepped_back; `reason` says why."""

    def __init__(self, plan: RolloutPlan, weight: int, now: float) -> None:
        self.plan = plan
        self.weight = weight
        self.state = "stepping" if weight else "stepped_back"
        self.reason = "" if weight else "it has no share"
        self._known: float | None = None  # the latest p99 of the others
        self._begin(now)

    def _begin(self, now: float) -> None:
        self._since = now
        self._ended = self._failed = self._others = 0
        self._own: deque[float] = deque(maxlen=_MOST_KEPT)
        self._their: deque[float] = deque(maxlen=_MOST_KEPT)

    def ended(self, version: str, seconds: float, *, failed: bool, now: float) -> bool:
        """Record that a request of `version` ended after `seconds`. Return whether the weight has changed."""
        if self.state != "stepping":
            return False
        if version != self.plan.version:
            self._others += 1
            if not failed:
                self._their.append(seconds)
        else:
            self._ended += 1
            self._failed += failed
            if not failed:
                self._own.append(seconds)
            if self._failed > self.plan.max_error_rate * max(self._ended, self.plan.min_requests):
                return self._back(
                    f"{self._failed} of {self._ended} requests failed, and at most {self.plan.max_error_rate:.2%} may"
                    " (max_error_rate)"
                )
        if now - self._since < self.plan.every or self._ended < self.plan.min_requests:
            return False
        return self._judge(now)

    def _judge(self, now: float) -> bool:
        if self._others >= self.plan.min_requests or self._known is None:
            self._known = _p99(self._their) or self._known
        own, known = _p99(self._own), self._known
        if own is not None and known is not None and own > known * self.plan.max_p99_ratio + _SLACK:
            return self._back(
                f"its p99 of {own * 1000:.1f} ms is over {self.plan.max_p99_ratio:g} times the other versions'"
                f" {known * 1000:.1f} ms (max_p99_ratio)"
            )
        self.weight = min(WHOLE, self.weight + self.plan.step)
        shown = "unknown" if own is None else f"{own * 1000:.1f} ms"
        self.reason = f"{self._failed} of {self._ended} requests failed, p99 {shown}"
        if self.weight == WHOLE:
            self.state = "complete"
        self._begin(now)
        return True

    def _back(self, reason: str) -> bool:
        self.weight = 0
        self.state, self.reason = "stepped_back", reason
        return True


def shared_out(weights: Mapping[str, int], version: str, weight: int) -> dict[str, int]:
    """Return `weights` with `weight` for `version`: the others share the rest as they did before."""
    others = {each: share for each, share in weights.items() if each != version}
    total, rest = sum(others.values()), WHOLE - weight
    exact = {each: rest * (share / total if total else 1 / len(others)) for each, share in others.items()}
    found = {each: int(share) for each, share in exact.items()}
    # What rounding has left goes to those that lost most by it.
    for each in sorted(exact, key=lambda name: found[name] - exact[name])[: rest - sum(found.values())]:
        found[each] += 1
    return {each: weight if each == version else found[each] for each in weights}


def _p99(seconds: deque[float]) -> float | None:
    if not seconds:
        return None
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
