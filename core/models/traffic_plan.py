"""TrafficPlan: how the requests that name no version are shared among a model's versions, as management says it.

1.0=90&2.0=10                     nine of ten requests go to version 1.0
1.0=90&2.0=10&sticky=x-user       the same, and requests with one x-user go to one version
shadow=2.0&shadow_percent=5       one of twenty is copied to version 2.0, whose answer nobody gets
rollout=2.0&step=10&every=60      version 2.0 gets 10 % more each minute, while it does well
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from ..errors import BadRequest
from ..model_name import check_version

WHOLE = 100  # percent
MOST_VERSIONS = 16
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}", re.ASCII)
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ShadowPlan:
    """A version that gets copies of `percent` of the requests, at most `limit` of them at a time."""

    version: str
    percent: int = WHOLE
    limit: int = 8


@dataclass(frozen=True, slots=True)
class RolloutPlan:
    """A version that gets `step` percent more every `every` seconds, and the limits within which it must stay.

    It loses all it has once more than `max_error_rate` (0 to 1) of its requests fail, or once its p99 is over
    `max_p99_ratio` times that of the other versions. Fewer than `min_requests` decide nothing.
    """

    version: str
    step: int = 10
    every: float = 60.0
    max_error_rate: float = 0.01
    max_p99_ratio: float = 1.5
    min_requests: int = 100


@dataclass(frozen=True, slots=True)
class TrafficPlan:
    """The shares of a model's versions in percent, which add up to 100; none: the default version gets all.

    `sticky` is the lower-case name of a header whose value decides the version, "" for none.
    """

    weights: Mapping[str, int] = field(default_factory=dict[str, int])
    sticky: str = ""
    shadow: ShadowPlan | None = None
    rollout: RolloutPlan | None = None

    @classmethod
    def read(cls, given: Mapping[str, str], default: str) -> TrafficPlan:
        """Return the plan that a request to the management API describes; `default` is the default version.

        Raises BadRequest, naming the parameter and what is wrong with it.
        """
        weights = {
            check_version(key): int(_number(key, text, 0, WHOLE, whole=True))
            for key, text in given.items()
            if key not in _PARAMETERS
        }
        if len(weights) > MOST_VERSIONS:
            raise BadRequest(f"The traffic of a model has at most {MOST_VERSIONS} versions, not {len(weights)}.")
        shadow = _part(ShadowPlan, given, "shadow", _SHADOW)
        rollout = _part(RolloutPlan, given, "rollout", _ROLLOUT)
        if rollout is not None and not weights:
            weights = {default: WHOLE - rollout.step, rollout.version: rollout.step}
        if not weights and shadow is None:
            raise BadRequest("No version is given: name versions and their percentages, such as 1.0=90&2.0=10.")
        sticky = given.get("sticky", "").lower()
        if sticky and not _HEADER.fullmatch(sticky):
            raise BadRequest(f"sticky must be the name of a header, not {sticky[:40]!r}.")
        _check_sum(weights)
        _check_parts(weights, default, shadow, rollout)
        return cls(weights, sticky, shadow, rollout)

    def as_json(self) -> dict[str, Any]:
        """Return the plan as snapshots keep it; `from_json` reads it."""
        found: dict[str, Any] = {"weights": dict(self.weights), "sticky": self.sticky}
        found |= {"shadow": self.shadow and asdict(self.shadow), "rollout": self.rollout and asdict(self.rollout)}
        return {key: value for key, value in found.items() if value}

    @classmethod
    def from_json(cls, found: Mapping[str, Any], default: str) -> TrafficPlan:
        """Return the plan of a snapshot. Raises BadRequest."""
        given: dict[str, str] = {}
        try:
            for name, names in (("shadow", _SHADOW), ("rollout", _ROLLOUT)):
                part = found.get(name)
                if part:
                    given[name] = str(part["version"])
                    given |= {
                        key: f"{part[of]:.9f}".rstrip("0").rstrip(".") for key, (of, *_) in names.items() if of in part
                    }
            given |= {str(version): str(weight) for version, weight in found.get("weights", {}).items()}
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            raise BadRequest(f"The snapshot's traffic is none that a server writes: {error!r}.") from None
        return cls.read(given | {"sticky": str(found.get("sticky", ""))}, default)


# parameter -> field, least and largest value
_SHADOW = {"shadow_percent": ("percent", 1, WHOLE), "shadow_limit": ("limit", 1, 1024)}
_ROLLOUT = {
    "step": ("step", 1, WHOLE),
    "every": ("every", 1, 86400),
    "max_error_rate": ("max_error_rate", 0, 1),
    "max_p99_ratio": ("max_p99_ratio", 1, 1000),
    "min_requests": ("min_requests", 1, 1_000_000),
}
_PARAMETERS = {"sticky", "shadow", "rollout", *_SHADOW, *_ROLLOUT}


def _part(kind: Any, given: Mapping[str, str], name: str, parameters: Mapping[str, tuple[str, int, int]]) -> Any:
    """Return the part of the plan that `name` begins, None if it isn't given. Raises BadRequest."""
    version = given.get(name, "")
    there = [key for key in parameters if key in given]
    if not version:
        if there:
            raise BadRequest(f"{there[0]} belongs to {name}, which names a version and is missing.")
        return None
    whole = {each.name for each in fields(kind) if each.type == "int"}
    values: dict[str, Any] = {}
    for key in there:
        of, low, high = parameters[key]
        number = _number(key, given[key], low, high, whole=of in whole)
        values[of] = int(number) if of in whole else number
    return kind(check_version(version), **values)


def _number(key: str, text: str, low: int, high: int, *, whole: bool) -> float:
    number = float(text) if _NUMBER.fullmatch(text) else -1.0
    if not low <= number <= high or (whole and number != int(number)):
        raise BadRequest(f"{key} must be a {'whole ' if whole else ''}number from {low} to {high}, not {text[:40]!r}.")
    return number


def _check_sum(weights: Mapping[str, int]) -> None:
    total = sum(weights.values())
    if weights and total != WHOLE:
        listed = ", ".join(f"{version}={weight}" for version, weight in weights.items())
        raise BadRequest(f"The percentages add up to {total}, not {WHOLE}: {listed}. Nothing was changed.")


def _check_parts(
    weights: Mapping[str, int], default: str, shadow: ShadowPlan | None, rollout: RolloutPlan | None
) -> None:
    if shadow is not None and (weights.get(shadow.version) or (not weights and shadow.version == default)):
        raise BadRequest(
            f"Version {shadow.version} answers requests itself: a shadow is a version without a share of its own."
        )
    if rollout is not None and (rollout.version not in weights or weights[rollout.version] == WHOLE):
        raise BadRequest(
            f"The rollout of version {rollout.version} needs a percentage of it, below {WHOLE}, beside that of another"
            " version."
        )
