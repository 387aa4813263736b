"""AnswerStore: a Redis in which several servers keep the answers of their models' caches. Only this file knows Redis.

Each command has a deadline of its own, and the store has a circuit breaker: one that is slow or gone costs a few
requests their deadline, and then nobody anything until it is well again. Nothing here raises: what does not come in
time, or can't be read, is counted and is None. At most MOST commands are under way; further ones are skipped.

What is read is bounded before it is read: somebody else may have put anything there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, TypeVar

from .circuit_breaker import CircuitBreaker

log = logging.getLogger(__name__)
_T = TypeVar("_T")

MOST = 64  # commands under way
LARGEST = 4 << 20  # bytes of a value
OUTCOMES: tuple[str, ...] = ("ok", "late", "error", "skipped")


class AnswerStore:
    """A store of values under keys. `outcomes` counts what became of commands, by OUTCOMES."""

    def __init__(self, url: str, timeout: float, connect: Callable[..., Any] | None = None) -> None:
        """Use the Redis at `url`, and wait for `timeout` seconds at most. Raises ImportError without the package."""
        self._redis: Any = (connect or _connect)(url)
        self._timeout = timeout
        self._breaker = CircuitBreaker()
        self._under_way = 0
        self.outcomes = dict.fromkeys(OUTCOMES, 0)

    @property
    def well(self) -> bool:
        """Whether the store has answered of late, or was not asked yet."""
        return self._breaker.closed

    @property
    def may_ask(self) -> bool:
        """Whether a command would be given to the store now."""
        return self._under_way < MOST and self._breaker.would_allow(monotonic())

    async def get(self, epoch: bytes, key: bytes) -> tuple[bytes, bytes] | None:
        """Return the values under `epoch` and `key`, each b"" if there is none; None if the store didn't answer."""

        async def ask() -> tuple[bytes, bytes]:
            async with self._redis.pipeline(transaction=False) as pipeline:
                found = await pipeline.getrange(epoch, 0, 63).getrange(key, 0, LARGEST).execute()
            return bytes(found[0]), bytes(found[1])

        return await self._in_time(ask)

    async def put(self, key: bytes, value: bytes, seconds: float) -> bool:
        """Keep a value for so many seconds; return whether the store said that it does."""
        milliseconds = max(1, int(seconds * 1000))
        return bool(await self._in_time(lambda: self._redis.set(key, value, px=milliseconds)))

    async def close(self) -> None:
        """End the connections."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._redis.aclose()
        except Exception as error:  # noqa: BLE001  (the end: there is nobody to tell)
            log.debug("The connections to Redis did not end well: %s", error)

    async def _in_time(self, ask: Callable[[], Awaitable[_T]]) -> _T | None:
        if self._under_way >= MOST or not self._breaker.allows(monotonic()):
            self.outcomes["skipped"] += 1
            return None
        self._under_way += 1
        try:
            async with asyncio.timeout(self._timeout):
                found = await ask()
        except TimeoutError:
            self._failed("late", f"it has not answered within {self._timeout * 1000:.0f} ms (cache_redis_timeout)")
            return None
        except asyncio.CancelledError:
            self._breaker.abandoned()
            raise
        except Exception as error:  # noqa: BLE001  (of a library and of whatever answers: a cache that fails is a miss)
            self._failed("error", f"{type(error).__name__}: {error}")
            return None
        finally:
            self._under_way -= 1
        self.outcomes["ok"] += 1
        if not self._breaker.closed:
            log.info("The cache's Redis (cache_redis) answers again.")
        self._breaker.succeeded()
        return found

    def _failed(self, how: str, why: str) -> None:
        self.outcomes[how] += 1
        was_well = self._breaker.closed
        self._breaker.failed(monotonic())
        if was_well and not self._breaker.closed:
            log.warning("The cache's Redis (cache_redis) is left alone for a while, and answers are computed: %s", why)


def _connect(url: str) -> Any:
    from redis import asyncio as redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0), max_connections=2 * MOST, health_check_interval=0)
