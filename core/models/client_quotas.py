"""ClientQuotas: admits the requests of each client within its limits.

A rate is a bucket of `burst` requests that fills by `rate` a second, and a request takes one out. A bucket of tokens
holds a minute's: a request is admitted while anything is in it, and takes out all that it asks for, which may leave a
debt.

At most MOST clients that aren't listed are known at a time. The ones that are forgotten first have been quiet for
longest, and only if they have nothing unanswered and full buckets, so that forgetting one gives it nothing. While
there is none such, further clients share the limits of one.

Pure: the time (s) is an argument.
"""

from __future__ import annotations

from collections import OrderedDict

from ..config.client_limits import ClientLimit, ClientLimits
from ..errors import ClientLimited

MOST = 10_000
_LOOKED_AT = 8  # clients that are looked at when one is to be forgotten


class _Bucket:
    __slots__ = ("_at", "_left", "_most", "_rate")

    def __init__(self, rate: float, most: float, now: float) -> None:
        self._rate = rate
        self._most = most
        self._left = most
        self._at = now

    def wait(self, need: float, now: float) -> float:
        """Return the seconds until `need` is in it, 0 if it is."""
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (need - self._left) / self._rate)

    def take(self, count: float) -> None:
        self._left -= count

    def full(self, now: float) -> bool:
        return self.wait(self._most, now) <= 0


class Quota:
    """The state of one client, or of several that share it."""

    __slots__ = ("_limit", "_requests", "_tokens", "running")

    def __init__(self, limit: ClientLimit, now: float) -> None:
        self._limit = limit
        self.running = 0
        rate, minute = limit.rate, limit.tokens_per_minute
        self._requests = None if rate is None else _Bucket(rate, limit.burst or max(1.0, rate), now)
        self._tokens = None if minute is None else _Bucket(minute / 60.0, minute, now)

    def check(self, tokens: int, now: float, whose: str) -> None:
        """Raise ClientLimited, naming the limit and when to come again, if one more request isn't within the limits."""
        limit = self._limit
        if limit.concurrent is not None and self.running >= limit.concurrent:
            raise ClientLimited(
                f"{whose}: {self.running} requests are unanswered, and at most {limit.concurrent} may be"
                " (client_limits, concurrent). Send it again once one is answered.",
                retry_after=1.0,
            )
        if self._requests is not None and (wait := self._requests.wait(1.0, now)):
            raise ClientLimited(
                f"{whose}: {limit.rate:g} requests a second are accepted (client_limits, requestsPerSecond). Send it"
                f" again in {wait:.1f} s.",
                retry_after=wait,
            )
        # A token is enough: what a request asks for beyond that is a debt.
        if tokens and self._tokens is not None and (wait := self._tokens.wait(1.0, now)):
            raise ClientLimited(
                f"{whose}: {limit.tokens_per_minute:g} tokens a minute are accepted (client_limits, tokensPerMinute)."
                f" Send it again in {wait:.0f} s.",
                retry_after=wait,
            )

    def take(self, tokens: int) -> None:
        """Count a request that was checked."""
        self.running += 1
        if self._requests is not None:
            self._requests.take(1)
        if tokens and self._tokens is not None:
            self._tokens.take(tokens)

    def untouched(self, now: float) -> bool:
        """Return whether a new client would be in the same state."""
        buckets = (self._requests, self._tokens)
        return not self.running and all(bucket is None or bucket.full(now) for bucket in buckets)


class ClientQuotas:
    """The quotas of all clients."""

    def __init__(self, limits: ClientLimits, now: float, most: int = MOST) -> None:
        self._limits = limits
        self._most = most
        self._listed = {client: Quota(limit, now) for client, limit in limits.listed.items()}
        self._others = Quota(limits.others, now)
        self._crowd = Quota(limits.default, now)
        self._known: OrderedDict[str, Quota] = OrderedDict()  # the quietest first

    def __len__(self) -> int:
        return len(self._known)

    def admit(self, client: str, tokens: int, now: float) -> tuple[Quota, ...]:
        """Count a request of `client`, which asks for so many tokens, and return what to `release` at its end.

        Raises ClientLimited.
        """
        listed = self._listed.get(client)
        if listed is not None:
            listed.check(tokens, now, "This client")
            listed.take(tokens)
            return (listed,)
        self._others.check(tokens, now, "All clients that are not listed, together")
        own = self._quota(client, now)
        own.check(tokens, now, "This client")
        for quota in (own, self._others):
            quota.take(tokens)
        return own, self._others

    @staticmethod
    def release(quotas: tuple[Quota, ...]) -> None:
        """Record that a request has ended."""
        for quota in quotas:
            quota.running -= 1

    def _quota(self, client: str, now: float) -> Quota:
        known = self._known
        found = known.get(client)
        if found is not None:
            known.move_to_end(client)
            return found
        if len(known) >= self._most and not self._forget(now):
            return self._crowd
        made = known[client] = Quota(self._limits.default, now)
        return made

    def _forget(self, now: float) -> bool:
        """Forget one of the quietest clients that has nothing to gain by it; return whether there was one."""
        for _ in range(min(_LOOKED_AT, len(self._known))):
            client, quota = next(iter(self._known.items()))
            if quota.untouched(now):
                del self._known[client]
                return True
            self._known.move_to_end(client)
        return False
