"""ClientLimits: the key `client_limits`, JSON with what each client may ask of the server.

    {"default": {"requestsPerSecond": 10, "concurrent": 4}, "others": {"concurrent": 100},
     "Bearer 5f0c…": {"requestsPerSecond": 200, "burst": 400, "tokensPerMinute": 600000, "weight": 4}}

A client is a value of the header that `fair_share_header` names. `default` holds for each client that isn't listed, and
`others` for all of these together: whoever invents clients gets no more than that. Where anything has a `weight`, the
clients of each model take turns by their weights, of which those that have none said have 1.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

_MOST = 2**31 - 1
_MOST_LISTED = 10_000
_KEYS = {
    "requestsPerSecond": "rate",
    "burst": "burst",
    "concurrent": "concurrent",
    "tokensPerMinute": "tokens_per_minute",
    "weight": "weight",
}
_WEIGHTS = (0.001, 1000)


@dataclass(frozen=True, slots=True)
class ClientLimit:
    """The limits of one client, None for none.

    `rate` is in requests a second, of which `burst` may come at once (default: one second's). `concurrent` requests may
    be unanswered. `tokens_per_minute` counts those of language models' prompts and answers. `weight` limits nothing: it
    is the share of a model's time among those who wait for it.
    """

    rate: float | None = None
    burst: float | None = None
    concurrent: int | None = None
    tokens_per_minute: float | None = None
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """The limits of the clients that are listed, of each one that isn't, and of all of the latter together."""

    text: str
    listed: Mapping[str, ClientLimit]
    default: ClientLimit = ClientLimit()
    others: ClientLimit = ClientLimit()

    @property
    def refuses(self) -> bool:
        """Whether anything is limited: weights alone refuse nobody."""
        return any(replace(limit, weight=None) != ClientLimit() for limit in self._all)

    @property
    def weighs(self) -> bool:
        """Whether anything has a weight, so that clients take turns."""
        return any(limit.weight is not None for limit in self._all)

    @property
    def _all(self) -> tuple[ClientLimit, ...]:
        return (*self.listed.values(), self.default, self.others)

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> ClientLimits:
        """Parse the JSON `text`. Raises ValueError naming the key, but no client, which may be a secret."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is no JSON: {error}") from None
        if not isinstance(document, dict):
            raise ValueError("it must be a JSON object: client -> limits")  # noqa: TRY004  (a text's)
        if len(document) > _MOST_LISTED:
            raise ValueError(f"it lists {len(document)} clients, and at most {_MOST_LISTED} may be listed")
        found = {
            client: _limit(entry, client if client in {"default", "others"} else f"client {number}")
            for number, (client, entry) in enumerate(document.items(), 1)
        }
        default, others = found.pop("default", ClientLimit()), found.pop("others", ClientLimit())
        return cls(text.strip(), found, default, others)


def _limit(entry: object, label: str) -> ClientLimit:
    if not isinstance(entry, dict):
        raise ValueError(f"{label}: its limits must be a JSON object")  # noqa: TRY004  (as above)
    values: dict[str, Any] = {}
    for key, value in entry.items():
        if key not in _KEYS:
            raise ValueError(f"{label}: there is no limit {str(key)[:40]!r}; there are {', '.join(_KEYS)}")
        whole = key == "concurrent"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not 0 < value <= _MOST:
            kind = "a whole number" if whole else "a number"
            raise ValueError(f"{label}: {key} must be {kind} above 0, not {json.dumps(value)[:40]}")
        if key == "weight" and not _WEIGHTS[0] <= value <= _WEIGHTS[1]:
            raise ValueError(f"{label}: weight must be from {_WEIGHTS[0]:g} to {_WEIGHTS[1]:g}, not {value:g}")
        values[_KEYS[key]] = value
    if "burst" in values and "rate" not in values:
        raise ValueError(f"{label}: burst belongs to requestsPerSecond, which is missing")
    if values.get("burst", 1) < 1:
        raise ValueError(f"{label}: burst must be 1 or more: no request would ever pass")
    return ClientLimit(**values)
