"""Tokens: the keys that open the APIs, how long they live and how a new one is made. Pure: `now` is an argument."""

from __future__ import annotations

import hmac
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, TypeAlias, cast, get_args

Kind: TypeAlias = Literal["management", "inference", "API"]
Renewable: TypeAlias = Literal["management", "inference"]

KINDS: tuple[Kind, ...] = get_args(Kind)
RENEWABLE: tuple[Renewable, ...] = get_args(Renewable)
_BYTES = 24  # of randomness; TorchServe's 6 could be guessed, given the time that a key without an end allows


@dataclass(frozen=True, slots=True)
class Token:
    """A key. `expires` is the second since the epoch from which it is no longer valid, None if it stays valid."""

    key: str
    expires: float | None

    def opens(self, given: str, now: float) -> bool:
        """Return whether `given` is this key and it has not expired. Takes the same time for every wrong key."""
        same = given.isascii() and hmac.compare_digest(given, self.key)  # which raises TypeError for other text
        return same and (self.expires is None or now < self.expires)


@dataclass(frozen=True, slots=True)
class Tokens:
    """A set of one token of each kind. `life` is in seconds; the key of the token API does not expire."""

    life: float
    by_kind: Mapping[Kind, Token]

    @classmethod
    def fresh(cls, life: float, now: float) -> Tokens:
        return cls(life, {kind: _make(None if kind == "API" else now + life) for kind in KINDS})

    def opens(self, kind: Kind, given: str, now: float) -> bool:
        return self.by_kind[kind].opens(given, now)

    def renewed(self, kind: Renewable, now: float) -> Tokens:
        """Return these tokens with a new key of one kind."""
        return Tokens(self.life, {**self.by_kind, kind: _make(now + self.life)})

    def as_json(self) -> bytes:
        """Return the text of the key file, in TorchServe's format."""
        shown = {kind: _shown(self.by_kind[kind]) for kind in KINDS}
        return json.dumps(shown, indent=2).encode() + b"\n"


def renewable(text: str) -> Renewable | None:
    """Return the kind that `text` names if its key can be renewed, else None."""
    return cast(Renewable, text) if text in RENEWABLE else None


def _make(expires: float | None) -> Token:
    return Token(secrets.token_urlsafe(_BYTES), expires)


def _shown(token: Token) -> dict[str, str]:
    if token.expires is None:
        return {"key": token.key}
    stamp = datetime.fromtimestamp(token.expires, UTC).isoformat(timespec="microseconds")
    return {"key": token.key, "expiration time": stamp.removesuffix("+00:00") + "Z"}
