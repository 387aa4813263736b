"""The closed loop: each connection asks again once it is answered. A slow server is asked less."""

from __future__ import annotations

import asyncio
import time

from .answer import Answer
from .channel import Channel
from .client import Client
from .plan import Closed, Plan, split

_PAUSE = 0.05  # seconds before a connection that failed is tried again


class ClosedLoop(Client):
    def __init__(self, plan: Plan, place: int, parts: int) -> None:
        super().__init__(plan, place, parts)
        assert isinstance(plan.load, Closed)
        self._count = split(plan.load.connections, place, parts)

    async def prepare(self) -> None:
        await asyncio.gather(*(self.connect() for _ in range(self._count)))

    def start(self, at: float) -> None:
        self._running = True
        self._begin_at(at)

    def _begin_at(self, at: float) -> None:
        left = at - time.monotonic()
        if left > 0:  # again, after a timer that rang a moment early
            asyncio.get_running_loop().call_later(left, self._begin_at, at)
        else:
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        for channel in list(self.channels):
            self._go(channel, time.monotonic())
        for _ in range(self._count - len(self.channels)):
            self._spawn(self._connect_again())

    def answered(self, channel: Channel, answer: Answer, now: float) -> None:
        self.recorder.answered(channel, answer, now)
        if channel.open:
            self._go(channel, time.monotonic())

    def lost(self, channel: Channel) -> None:
        super().lost(channel)
        if self._running:
            self._spawn(self._connect_again())

    def _go(self, channel: Channel, now: float) -> None:
        if self._may_send(now):
            self.recorder.started(now, now)
            self._send(channel, now, now)

    async def _connect_again(self) -> None:
        while not self._sent_all(time.monotonic()):
            try:
                channel = await self.connect()
            except OSError as error:
                now = time.monotonic()
                if self._may_send(now):
                    self.recorder.started(now, now)
                    self.recorder.no_connection(str(error), now, now)
                await asyncio.sleep(_PAUSE)
            else:
                self._go(channel, time.monotonic())
                return
