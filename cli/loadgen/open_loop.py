"""The open loop: requests are sent when the schedule says, whether or not the server keeps up."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Iterator

from .alarm import Alarm
from .channel import Channel
from .load_loop import LoadLoop
from .response import Response
from .rpc_answer import RpcAnswer
from .scenario import Open, Scenario, share, split
from .tally import TIMEOUT

_FIRST = 4  # connections to begin with


class OpenLoop(LoadLoop):
    """A load loop that follows a schedule.

    The warm-up has a schedule of its own, so that the measured schedule is the same however long the warm-up took.
    """

    def __init__(self, scenario: Scenario, place: int, parts: int) -> None:
        super().__init__(scenario, place, parts)
        assert isinstance(scenario.load, Open)
        self._load = scenario.load
        self._most = max(split(scenario.load.connections, place, parts), 1)
        self._idle: list[Channel] = []
        self._backlog: deque[float] = deque()  # due times of requests that wait for a connection
        self._connecting = 0
        self._schedule: Iterator[float] = iter(())
        self._due: float | None = None
        self._alarm: Alarm | None = None

    async def prepare(self) -> None:
        self._idle += await asyncio.gather(*(self.connect() for _ in range(min(_FIRST, self._most))))
        self._alarm = Alarm(asyncio.get_running_loop(), self._ring)

    def start(self, at: float) -> None:
        self._running = True
        self._follow(at + time for time in self._mine(self._load.warm_times(self.scenario.seed)))

    def measure(self, begin: float, end: float, requests: float) -> None:
        super().measure(begin, end, requests)
        begin = self.recorder.begin
        rest = self._schedule if self._due is None else itertools.chain((self._due,), self._schedule)
        warm = itertools.takewhile(lambda due: due < begin, rest)
        fresh = (begin + time for time in self._mine(self._load.times(self.scenario.seed)))
        self._follow(itertools.chain(warm, fresh))

    def over(self, now: float) -> bool:
        return super().over(now) and not self._backlog and not self._connecting

    def _sent_all(self, now: float) -> bool:
        # A request that was due before the end is sent even if its turn comes after the end.
        if self._due is None:
            return not self._running or self.recorder.begin <= now
        return not self._running or self._due >= self.recorder.end or self._quota <= 0

    def close(self) -> None:
        super().close()
        if self._alarm is not None:
            self._alarm.close()
            self._alarm = None

    def _mine(self, times: Iterator[float]) -> Iterator[float]:
        return share(times, self.place, self.parts)

    def _follow(self, schedule: Iterator[float]) -> None:
        self._schedule = schedule
        self._due = next(schedule, None)
        if self._due is not None and self._alarm is not None:
            self._alarm.at(self._due)

    def _ring(self) -> None:
        while self._due is not None:
            now, due = time.monotonic(), self._due
            if due > now:
                if self._alarm is not None:
                    self._alarm.at(due)
                return
            if not self._may_send(due):
                self._due = None
                return
            self.recorder.record_start(due, now)
            self._dispatch(due, now)
            self._due = next(self._schedule, None)

    def _dispatch(self, due: float, now: float) -> None:
        while self._idle:
            channel = self._idle.pop()
            if channel.open:
                self._send(channel, due, now)
                return
        self._backlog.append(due)
        if not self._grow():
            self.recorder.record_wait(due)

    def _grow(self) -> bool:
        """Open one more connection unless enough for the backlog are being opened.

        Return False if no more connections are allowed.
        """
        if len(self.channels) + self._connecting >= self._most:
            return False
        if self._connecting < len(self._backlog):
            self._connecting += 1
            self._spawn(self._connect_more())
        return True

    async def _connect_more(self) -> None:
        try:
            channel = await self.connect()
        except OSError as error:
            if self._backlog:
                self.recorder.record_no_connection(str(error), self._backlog.popleft(), time.monotonic())
        else:
            self._free(channel, time.monotonic())
        finally:
            self._connecting -= 1
        if self._backlog and self._running:
            self._grow()

    def _free(self, channel: Channel, now: float) -> None:
        if self._backlog:
            self._send(channel, self._backlog.popleft(), now)
        else:
            self._idle.append(channel)

    def on_response(self, channel: Channel, response: Response | RpcAnswer, now: float) -> None:
        self.recorder.record_response(channel, response, now)
        if channel.open:
            self._free(channel, now)

    def on_close(self, channel: Channel) -> None:
        super().on_close(channel)
        if self._backlog and self._alarm is not None:
            self._grow()

    def tick(self, now: float) -> None:
        super().tick(now)
        while self._backlog and now - self._backlog[0] > self.scenario.timeout:
            self.recorder.record_failure(TIMEOUT, "no connection was free", self._backlog.popleft(), now)
