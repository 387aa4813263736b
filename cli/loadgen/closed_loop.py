"""The closed loop: each connection sends its next request when the last one was answered.

A slow server is therefore sent fewer requests.
"""

from __future__ import annotations

import asyncio
import time

from .channel import Channel
from .load_loop import LoadLoop
from .response import Response
from .rpc_answer import RpcAnswer
from .scenario import Closed, Scenario, split

_PAUSE = 0.05  # seconds between two tries to connect


class ClosedLoop(LoadLoop):
    """A load loop whose connections each send as soon as they are answered."""

    def __init__(self, scenario: Scenario, place: int, parts: int) -> None:
        super().__init__(scenario, place, parts)
        assert isinstance(scenario.load, Closed)
        self._count = split(scenario.load.connections, place, parts)

    async def prepare(self) -> None:
        await asyncio.gather(*(self.connect() for _ in range(self._count)))

    def start(self, at: float) -> None:
        self._running = True
        self._begin_at(at)

    def _begin_at(self, at: float) -> None:
        left = at - time.monotonic()
        if left > 0:  # the event loop's timer may ring a moment early
            asyncio.get_running_loop().call_later(left, self._begin_at, at)
        else:
            asyncio.get_running_loop().call_soon(self._begin)

    def _begin(self) -> None:
        for channel in list(self.channels):
            self._go(channel, time.monotonic())
        for _ in range(self._count - len(self.channels)):
            self._spawn(self._connect_again())

    def on_response(self, channel: Channel, response: Response | RpcAnswer, now: float) -> None:
        self.recorder.record_response(channel, response, now)
        if channel.open:
            self._go(channel, time.monotonic())

    def on_close(self, channel: Channel) -> None:
        super().on_close(channel)
        if self._running:
            self._spawn(self._connect_again())

    def _go(self, channel: Channel, now: float) -> None:
        if self._may_send(now):
            self.recorder.record_start(now, now)
            self._send(channel, now, now)

    async def _connect_again(self) -> None:
        while not self._sent_all(time.monotonic()):
            try:
                channel = await self.connect()
            except OSError as error:
                now = time.monotonic()
                if self._may_send(now):
                    self.recorder.record_start(now, now)
                    self.recorder.record_no_connection(str(error), now, now)
                await asyncio.sleep(_PAUSE)
            else:
                self._go(channel, time.monotonic())
                return
