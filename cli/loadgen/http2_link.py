"""Http2Links: the HTTP/2 connections of a generator process, and the channels on them, each with one call at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import cast

from .channel import Channel, ChannelOwner
from .http2_client import BadAnswer, Http2Client
from .response import BadResponse
from .rpc_answer import RpcAnswer
from .rpc_request import RpcRequest
from .scenario import Scenario, split
from .tally import RESET

# Opens a connection whose protocol the function makes. Raises OSError.
Dial = Callable[[Callable[[], asyncio.Protocol]], Awaitable[None]]


class RpcChannel(Channel):
    """A place for one call at a time on a connection that other channels share. What fails ends the channel alone."""

    def __init__(self, owner: ChannelOwner, link: Http2Link, answer: RpcAnswer) -> None:
        super().__init__(owner)
        self._link = link
        self._answer = answer
        self._closed = False

    @property
    def open(self) -> bool:
        """Return whether another call can be sent."""
        return not self._closed and self._link.open

    def send(self, request: bytes | RpcRequest, place: int, due: float, now: float) -> None:
        """Send a call. The channel must be open and not busy."""
        assert isinstance(request, RpcRequest)
        self._answer.reset()
        self.begin(place, due, now)
        self._link.send(request, self)

    def abort(self) -> None:
        """Give up the call under way, and the channel."""
        if self._closed:
            return
        if self.busy:
            self.busy = False
            self._link.cancel(self)
        self.close()

    def close(self) -> None:
        """End the channel, whose call has ended."""
        if not self._closed:
            self._closed = True
            self._link.leave(self)
            self._owner.on_close(self)

    # ---- AnswerSink

    def headers_came(self, fields: Mapping[str, str], *, ended: bool) -> None:
        """Take the head of the answer, or its trailers."""
        try:
            self._answer.headers_came(fields)
            if ended:
                self._end()
        except BadResponse as error:
            self._fail(RESET, str(error), self._link.now)

    def data_came(self, data: bytes, *, ended: bool) -> None:
        """Take a piece of the answer's messages."""
        answer = self._answer
        before = answer.chunks
        try:
            answer.data_came(data)
            if answer.chunks > before:
                self.chunk_came(before, self._link.now)
            if ended:
                raise BadResponse("the answer has no trailers")
        except BadResponse as error:
            self._fail(RESET, str(error), self._link.now)

    def lost(self, why: str) -> None:
        """Note that the answer will not come."""
        if self.busy:
            self.busy = False
            self._owner.on_failure(self, RESET, why, time.monotonic())
        self.close()

    def _end(self) -> None:
        self._answer.end()
        self._link.answered.append(self)

    def report(self) -> None:
        """Report the answer, which is whole."""
        self.busy = False
        self._owner.on_response(self, self._answer, self._link.now)


class Http2Link(asyncio.Protocol):
    """A connection. `left` is called for each channel that ends.

    `now` is when the bytes came that are being read. The channels in `answered` report once all of them are read: the
    next calls are not to be sent on a connection that the server has ended behind its answers.
    """

    def __init__(self, left: Callable[[], None]) -> None:
        self.channels: set[RpcChannel] = set()
        self.answered: list[RpcChannel] = []
        self._left = left
        self.now = 0.0
        self._client = Http2Client()
        self._transport: asyncio.Transport | None = None
        self._reading = False

    @property
    def open(self) -> bool:
        """Return whether calls can be sent."""
        return self._transport is not None and not self._client.leaving and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._flush()

    def send(self, request: RpcRequest, channel: RpcChannel) -> None:
        """Send a call."""
        self._client.send(request.block, request.body, channel)
        self._flush()

    def leave(self, channel: RpcChannel) -> None:
        """Forget a channel that has ended."""
        self.channels.discard(channel)
        self._left()

    def cancel(self, channel: RpcChannel) -> None:
        """Give up a call."""
        self._client.cancel(channel)
        self._flush()

    def data_received(self, data: bytes) -> None:
        self.now = time.monotonic()
        self._reading = True  # what is sent meanwhile goes out below, in one write
        try:
            self._client.receive(data)
        except BadAnswer as error:
            self._client.lost(str(error))
        answered, self.answered = self.answered, []
        for channel in answered:
            channel.report()
        self._reading = False
        self._flush()
        if self._client.leaving and self._client.idle and self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._client.lost(str(exc or "closed before the answer's end"))
        for channel in list(self.channels):
            channel.close()

    def close(self) -> None:
        """Close the connection without sending what is still buffered."""
        if self._transport is not None:
            self._transport.abort()

    def _flush(self) -> None:
        if not self._reading and self._transport is not None:
            out = self._client.take()
            if out:
                self._transport.writelines(out)


class _Slot:
    """A connection that is open, opening or to be opened. `users` counts its channels, those on their way included."""

    __slots__ = ("link", "opening", "users")

    def __init__(self) -> None:
        self.link: Http2Link | None = None
        self.opening: asyncio.Task[Http2Link] | None = None
        self.users = 0


class Http2Links:
    """The connections of a process, which are opened as channels are asked for: `scenario.channels` at most."""

    def __init__(self, scenario: Scenario, place: int, parts: int, dial: Dial) -> None:
        self._scenario = scenario
        self._dial = dial
        self._slots = [_Slot() for _ in range(max(split(scenario.channels, place, parts), 1))]

    async def channel(self, owner: ChannelOwner) -> RpcChannel:
        """Return a new channel, on the connection that has the fewest. Raises OSError."""
        slot = min(self._slots, key=lambda each: each.users)
        slot.users += 1
        try:
            link = await self._link(slot)
        except BaseException:
            slot.users -= 1
            raise
        channel = RpcChannel(owner, link, RpcAnswer(self._scenario.unwrap, streams=self._scenario.streams))
        link.channels.add(channel)
        return channel

    async def _link(self, slot: _Slot) -> Http2Link:
        if slot.link is not None and slot.link.open:
            return slot.link
        if slot.opening is None:
            slot.opening = asyncio.get_running_loop().create_task(self._open(slot))
        return await asyncio.shield(slot.opening)

    async def _open(self, slot: _Slot) -> Http2Link:
        def left() -> None:
            slot.users -= 1

        try:
            slot.link = link = Http2Link(left)
            await self._dial(lambda: link)
            return link
        finally:
            slot.opening = None

    def close(self) -> None:
        """Close all connections."""
        for slot in self._slots:
            if slot.opening is not None:
                slot.opening.cancel()
            if slot.link is not None:
                slot.link.close()
