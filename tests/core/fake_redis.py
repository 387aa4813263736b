"""A Redis in memory, as far as the cache of answers uses one."""

from __future__ import annotations

import asyncio
from typing import Self

from torchserve.core.models.answer_store import AnswerStore


class FakeRedis:
    """The part of redis.asyncio that the store uses, over a dict. It may hang, and fail."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.error: Exception | None = None
        self.hangs = False
        self.commands = 0
        self._asked: list[bytes] = []

    async def _answer(self) -> None:
        self.commands += 1
        await asyncio.sleep(0)
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error

    def pipeline(self, *, transaction: bool) -> Self:
        assert not transaction
        self._asked = []
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None: ...

    def getrange(self, key: bytes, begin: int, end: int) -> Self:
        self._asked.append(self.kept.get(key, b"")[begin : end + 1])
        return self

    async def execute(self) -> list[bytes]:
        asked = self._asked
        await self._answer()
        return asked

    async def set(self, key: bytes, value: bytes, *, px: int) -> bool:
        await self._answer()
        assert px > 0
        self.kept[key] = value
        return True

    async def aclose(self) -> None:
        await self._answer()


def store(redis: FakeRedis) -> AnswerStore:
    return AnswerStore("redis://nowhere", 0.05, lambda url: redis)
