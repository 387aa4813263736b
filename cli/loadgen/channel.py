"""Channels, each with one request under way at a time; and the one that is a keep-alive connection of HTTP/1.1."""

from __future__ import annotations

import abc
import asyncio
import time
from typing import Protocol, cast

from .response import BadResponse, Response
from .rpc_answer import RpcAnswer
from .rpc_request import RpcRequest
from .tally import RESET, TIMEOUT


class ChannelOwner(Protocol):
    """The callbacks by which a channel reports how its request ended.

    `on_close` is called after the others, when the connection has been closed.
    """

    def on_response(self, channel: Channel, response: Response | RpcAnswer, now: float) -> None: ...

    def on_failure(self, channel: Channel, kind: str, text: str, now: float) -> None: ...

    def on_close(self, channel: Channel) -> None: ...


class Channel(abc.ABC):
    """A place for one request at a time.

    `place` is the index of that request's payload, `due` the time when it should have been sent and `sent` the time
    when it was. `first` and `last` are the times when the first and the latest chunk of a streamed response came,
    `gaps` the seconds between its chunks.
    """

    def __init__(self, owner: ChannelOwner) -> None:
        self._owner = owner
        self.busy = False
        self.place = 0
        self.due = self.sent = self.first = self.last = 0.0
        self.gaps: list[float] = []

    @property
    @abc.abstractmethod
    def open(self) -> bool:
        """Return whether another request can be sent."""

    @abc.abstractmethod
    def send(self, request: bytes | RpcRequest, place: int, due: float, now: float) -> None:
        """Send `request`, which carries the payload at `place`. The channel must be open and not busy."""

    @abc.abstractmethod
    def abort(self) -> None:
        """End the channel, and the request under way."""

    def begin(self, place: int, due: float, now: float) -> None:
        """Note that a request is sent."""
        if self.gaps:
            self.gaps.clear()
        self.busy, self.place, self.due, self.sent = True, place, due, now

    def chunk_came(self, before: int, now: float) -> None:
        """Note that the response has more chunks than `before`."""
        if before:
            self.gaps.append(now - self.last)
        else:
            self.first = now
        self.last = now

    def tick(self, now: float, timeout: float) -> None:
        """Fail the request under way if it was sent more than `timeout` seconds before `now`."""
        if self.busy and now - self.sent > timeout:
            self._fail(TIMEOUT, f"{timeout:g} s", now)

    def _fail(self, kind: str, text: str, now: float) -> None:
        """Fail the request under way. Its answer may still come, so that the channel ends."""
        self._owner.on_failure(self, kind, text, now)
        self.abort()


class Http1Channel(Channel, asyncio.Protocol):
    """A keep-alive connection of HTTP/1.1."""

    def __init__(self, owner: ChannelOwner) -> None:
        super().__init__(owner)
        self._transport: asyncio.Transport | None = None
        self._response = Response()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @property
    def open(self) -> bool:
        """Return whether the connection is established and not closing."""
        return self._transport is not None and not self._transport.is_closing()

    def send(self, request: bytes | RpcRequest, place: int, due: float, now: float) -> None:
        """Send `request`, which carries the payload at `place`. The channel must be open and not busy."""
        assert self._transport is not None
        assert isinstance(request, bytes)
        self._response.reset()
        self.begin(place, due, now)
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        response = self._response
        if not self.busy:
            self.abort()  # bytes without a request
            return
        before = response.chunks
        try:
            whole = response.feed(data)
        except BadResponse as error:
            self._fail(RESET, str(error), now)
            return
        if response.streamed and response.chunks > before:
            self.chunk_came(before, now)
        if whole:
            self._end(now)

    def _end(self, now: float) -> None:
        response = self._response
        self.busy = False
        if not response.keep and self._transport is not None:
            self._transport.close()
        self._owner.on_response(self, response, now)

    def _fail(self, kind: str, text: str, now: float) -> None:
        self.busy = False
        self.abort()
        self._owner.on_failure(self, kind, text, now)

    def connection_lost(self, exc: Exception | None) -> None:
        now = time.monotonic()
        if self.busy:
            if exc is None and self._response.close():
                self._end(now)
            else:
                self.busy = False
                self._owner.on_failure(self, RESET, str(exc or "closed before the answer's end"), now)
        self._owner.on_close(self)

    def abort(self) -> None:
        """Close the connection without sending what is still buffered."""
        if self._transport is not None:
            self._transport.abort()
