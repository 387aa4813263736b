"""Traffic: chooses the version of each request that names none, and which requests a shadow gets copies of.

Without a sticky header the versions take turns, so that each has its exact share of any hundred requests (smooth
weighted round robin). With one, a hash of its value is a point from 0 to 100 on the versions' shares, laid end to end
in the order in which they were given: a client moves to another version only when a share's end moves over its point.

Pure: the time (s) is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import Any

from .rollout import Rollout, shared_out
from .traffic_plan import WHOLE, TrafficPlan

_POINTS = 1 << 32
OUTCOMES: tuple[str, ...] = ("same", "close", "different", "failed", "unmatched", "dropped")  # of copies


class Traffic:
    """The traffic of one model. `changed` is called after each step of a rollout, with what was done and why."""

    def __init__(
        self, model: str, plan: TrafficPlan, now: float, changed: Callable[[str], None] = lambda _text: None
    ) -> None:
        self.model = model
        self.plan = plan
        self.weights = dict(plan.weights)
        self.outcomes = dict.fromkeys(OUTCOMES, 0)
        self.copies_running = 0
        self._changed = changed
        self._turns = dict.fromkeys(self.weights, 0)
        self._owed = 0  # percent of a copy
        rollout = plan.rollout
        self.rollout = Rollout(rollout, self.weights[rollout.version], now) if rollout else None

    def choose(self, headers: Mapping[str, str]) -> str | None:
        """Return the version for a request with these headers; None: the default one."""
        if not self.weights:
            return None
        sticky = self.plan.sticky
        if sticky:
            value = next((value for name, value in headers.items() if name.lower() == sticky), "")
            if value:
                return self._at(value)
        turns = self._turns
        for version, weight in self.weights.items():
            turns[version] += weight
        chosen = max(turns, key=turns.__getitem__)
        turns[chosen] -= WHOLE
        return chosen

    def _at(self, value: str) -> str:
        text = f"{self.model}\n{value}".encode("utf-8", "surrogatepass")
        point = int.from_bytes(blake2b(text, digest_size=4).digest(), "big") * WHOLE
        for version, weight in self.weights.items():
            point -= weight * _POINTS
            if point < 0:
                return version
        raise AssertionError  # the weights add up to WHOLE

    def copy_to(self) -> str | None:
        """Return the version that gets a copy of the next request, which counts as running from now on, or None."""
        shadow = self.plan.shadow
        if shadow is None:
            return None
        self._owed += shadow.percent
        if self._owed < WHOLE:
            return None
        self._owed -= WHOLE
        if self.copies_running >= shadow.limit:
            self.outcomes["dropped"] += 1
            return None
        self.copies_running += 1
        return shadow.version

    def copy_ended(self) -> None:
        """Record that a copy has been answered, or will never be."""
        self.copies_running -= 1

    def compared(self, outcome: str) -> None:
        """Count the outcome of a copy, one of OUTCOMES."""
        self.outcomes[outcome] += 1

    def ended(self, version: str, seconds: float, *, failed: bool, now: float) -> None:
        """Record that a request to `version` ended after `seconds`, and take a step of the rollout if it is time."""
        rollout = self.rollout
        if rollout is None or not rollout.ended(version, seconds, failed=failed, now=now):
            return
        before = self.weights[rollout.plan.version]
        self.weights = shared_out(self.plan.weights, rollout.plan.version, rollout.weight)
        self._turns = dict.fromkeys(self.weights, 0)
        self._changed(
            f"Model {self.model} version {rollout.plan.version} goes from {before} % to {rollout.weight} %:"
            f" {rollout.reason}"
        )

    def saved(self) -> dict[str, Any]:
        """Return what a restart needs: the plan, with the weights as they are now."""
        found = self.plan.as_json()
        if self.weights:
            found["weights"] = dict(self.weights)
        if self.rollout is not None and self.rollout.state != "stepping":
            del found["rollout"]
        return found

    def described(self) -> dict[str, Any]:
        """Return what describing a model shows of its traffic."""
        found: dict[str, Any] = {"weights": dict(self.weights)}
        if self.plan.sticky:
            found["sticky"] = self.plan.sticky
        if (shadow := self.plan.shadow) is not None:
            limits = {"percent": shadow.percent, "limit": shadow.limit, "running": self.copies_running}
            found["shadow"] = {"version": shadow.version, **limits, **self.outcomes}
        if (rollout := self.rollout) is not None:
            found["rollout"] = {"version": rollout.plan.version, "state": rollout.state, "reason": rollout.reason}
        return found
