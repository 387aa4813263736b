"""Tickets: which connections a front expects. Pure.

Each start of a worker has an epoch, a number that only grows, and two nonces, one for each connection that belongs to
it. A nonce is good once. What is withdrawn, because the start was given up or its node was cut off, stays known for a
while, so that the log can tell a late comer from a stranger.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

from ...wire.remote_messages import Hello

T = TypeVar("T")

_REMEMBERED = 4096  # nonces that are good no more


class Refused(Exception):
    """A refusal of a connection; the text says why."""


@dataclass(frozen=True, slots=True)
class _Expected(Generic[T]):
    worker: str
    epoch: int
    fingerprint: str
    taker: T


class Tickets(Generic[T]):
    """The nonces that are good, each with the taker of its connection."""

    def __init__(self) -> None:
        self._expected: dict[str, _Expected[T]] = {}
        self._past: OrderedDict[str, str] = OrderedDict()  # why a nonce is good no more
        self._epoch = 0

    def next_epoch(self) -> int:
        """Return the number of a new start, greater than any before."""
        self._epoch += 1
        return self._epoch

    def issue(self, worker: str, epoch: int, fingerprint: str, taker: T) -> str:
        """Return a nonce for one connection of this start, whose certificate must have this SHA-256 ("": none)."""
        nonce = secrets.token_urlsafe(32)
        self._expected[_key(nonce)] = _Expected(worker, epoch, fingerprint, taker)
        return nonce

    def withdraw(self, nonce: str) -> None:
        """Let the nonce be good no more: its start was given up. Nothing happens if it has been used."""
        if self._expected.pop(_key(nonce), None) is not None:
            self._remember(nonce, "it belongs to a start that was given up (an old epoch)")

    def redeem(self, hello: Hello, fingerprint: str) -> T:
        """Return the taker of a connection that began with `hello`, and use up its nonce. Raises Refused."""
        key = _key(hello.nonce)
        expected = self._expected.get(key)
        if expected is None:
            raise Refused(self._past.get(key, "its nonce was never issued by this front"))
        if fingerprint != expected.fingerprint:
            raise Refused("its key is not the one that its nonce was issued with")
        if (hello.worker, hello.epoch) != (expected.worker, expected.epoch):
            raise Refused(f"its nonce was issued to {expected.worker}, epoch {expected.epoch}")
        del self._expected[key]
        self._remember(hello.nonce, "its nonce was used before (a replay)")
        return expected.taker

    def __len__(self) -> int:
        return len(self._expected)

    def _remember(self, nonce: str, why: str) -> None:
        self._past[_key(nonce)] = why
        while len(self._past) > _REMEMBERED:
            self._past.popitem(last=False)


def _key(nonce: str) -> str:
    # How long the search for a hash takes tells nothing of the nonces that are good.
    return hashlib.sha256(nonce.encode("utf-8", "surrogatepass")).hexdigest()
