"""What closed and open loops have in common: connections, the order of the payloads, the quota, and the recorder."""

from __future__ import annotations

import abc
import asyncio
import math
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any

from .channel import Channel, Http1Channel
from .http2_link import Http2Links
from .payload import order
from .recorder import Recorder
from .response import Response
from .rpc_answer import RpcAnswer
from .scenario import Scenario


class LoadLoop(abc.ABC):
    """A loop that sends one process's part of the load: the part `place` of `parts`."""

    def __init__(self, scenario: Scenario, place: int, parts: int) -> None:
        self.scenario, self.place, self.parts = scenario, place, parts
        self.recorder = Recorder(scenario)
        self.channels: set[Channel] = set()
        self._requests = scenario.requests_ready()
        self._order = order(len(scenario.payloads), scenario.seed + place)
        self._turn = 0
        self._quota = math.inf
        self._running = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._ssl = _context(scenario)
        self._links = Http2Links(scenario, place, parts, self._dial) if scenario.rpc else None

    @abc.abstractmethod
    async def prepare(self) -> None:
        """Open the first connections. Raises OSError."""

    @abc.abstractmethod
    def start(self, at: float) -> None:
        """Begin to send requests at the time `at`, which should be in the near future."""

    def over(self, now: float) -> bool:
        """Return whether no more requests will be sent and none is waiting for its response."""
        return self._sent_all(now) and not any(channel.busy for channel in self.channels)

    @abc.abstractmethod
    def on_response(self, channel: Channel, response: Response | RpcAnswer, now: float) -> None:
        """Record the response and use the channel for the next request."""

    def on_close(self, channel: Channel) -> None:
        """Forget a channel whose connection has been closed."""
        self.channels.discard(channel)

    def on_failure(self, channel: Channel, kind: str, text: str, now: float) -> None:
        """Record that the channel's request has failed."""
        self.recorder.record_failure(kind, text, channel.due, now)

    def measure(self, begin: float, end: float, requests: float) -> None:
        """Count the requests that are due from `begin` on. Send none at or after `end`, or after `requests`
        requests.
        """
        # If `begin` has passed, the measurement starts now and lasts as long as planned.
        late = max(time.monotonic() - begin, 0.0)
        self.recorder.begin, self.recorder.end, self._quota = begin + late, end + late, requests

    def tick(self, now: float) -> None:
        """Fail requests that have waited longer than the scenario's timeout. This must be called every few hundredths
        of a second.
        """
        for channel in list(self.channels):
            channel.tick(now, self.scenario.timeout)

    def close(self) -> None:
        """Close all connections without waiting for responses."""
        self._running = False
        for task in list(self._tasks):
            task.cancel()
        for channel in list(self.channels):
            channel.abort()
        if self._links is not None:
            self._links.close()

    async def connect(self) -> Channel:
        """Open one more connection. Raises OSError."""
        if self._links is not None:
            channel: Channel = await self._links.channel(self)
        else:
            channel = made = Http1Channel(self)
            await self._dial(lambda: made)
        self.channels.add(channel)
        return channel

    async def _dial(self, make: Callable[[], asyncio.Protocol]) -> None:
        loop, address = asyncio.get_running_loop(), self.scenario.address
        if address.path:
            await loop.create_unix_connection(make, address.path)
        else:
            await loop.create_connection(make, address.host, address.port, ssl=self._ssl)

    def _may_send(self, due: float) -> bool:
        """Return whether a request that is due at `due` may be sent, and take it from the quota if so."""
        if not self._running or due >= self.recorder.end or self._quota <= 0:
            return False
        if due >= self.recorder.begin:
            self._quota -= 1
        return True

    def _sent_all(self, now: float) -> bool:
        return not self._running or now >= self.recorder.end or self._quota <= 0

    def _send(self, channel: Channel, due: float, now: float) -> None:
        place = self._order[self._turn % len(self._order)]
        self._turn += 1
        channel.send(self._requests[place], place, due, now)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _context(scenario: Scenario) -> ssl.SSLContext | None:
    if not scenario.address.tls:
        return None
    context = ssl.create_default_context()
    if scenario.rpc:
        context.set_alpn_protocols(["h2"])
    if not scenario.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
