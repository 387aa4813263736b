"""Board: sends the state of the server to all who look at its dashboard, once a second while anybody does.

What is sent is looked up and made into bytes once for all viewers. A look takes longer the more there is to see, so
that the next one comes no sooner than _SHARE allows: however large the server, all viewers together cost at most a
hundredth of a core.

A viewer that has not taken all of what it was sent gets nothing more until it has, and then the whole state again,
since it has missed changes; one that takes nothing for `viewer_stall` seconds is dropped. So no viewer keeps more than
one message waiting. Its key is checked at each message: one that has expired is told to its viewer, and ends the
answer.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic, thread_time
from typing import TYPE_CHECKING, Any

import orjson

from ..core.errors import InvalidKey, Overloaded
from ..core.payload import Reply
from .message.limits import Limits
from .message.live import LiveReply, Outlet
from .message.page_headers import SAFE
from .message.reply import PHRASES

if TYPE_CHECKING:
    from ..core.overview import Overview

log = logging.getLogger(__name__)

_SHARE = 0.01  # of a core
_GPU_INTERVAL = 5.0  # seconds between two questions to the driver

Check = Callable[[Mapping[str, str]], None]


@dataclass(eq=False, slots=True)
class _Viewer:
    """A viewer: `check` raises InvalidKey once its key is none. `line` is the last line of the log that it has."""

    check: Callable[[], None]
    line: int | None
    outlet: Outlet | None = None
    missed: bool = False
    behind_since: float | None = None


class Board:
    """The dashboard's viewers."""

    def __init__(self, overview: Overview, limits: Limits) -> None:
        self.overview = overview
        self._limits = limits
        self._viewers: list[_Viewer] = []
        self._task: asyncio.Task[None] | None = None
        self._asking: asyncio.Task[None] | None = None  # the driver for the GPUs
        self._asked = -_GPU_INTERVAL
        self._whole: bytes | None = None  # the state as of the last look, as bytes
        self._looked = False  # whether there is a state to tell
        self._closed = False

    @property
    def viewers(self) -> int:
        """The number of viewers."""
        return len(self._viewers)

    def admit(self, check: Callable[[], None], *, log: bool, note: Mapping[str, object]) -> LiveReply:
        """Return the live answer to one more viewer. `check` raises InvalidKey once its key is none.

        With `log` it gets the log's lines, and `note` is told to it first. Raises Overloaded.
        """
        if self._closed:
            raise Overloaded("The server is stopping.")
        if len(self._viewers) >= self._limits.viewers:
            raise Overloaded(
                f"{len(self._viewers)} dashboards are open, and no more may look at a time. Close one, or try again"
                " later.",
                retry_after=self._limits.viewer_stall,
            )
        viewer = _Viewer(check, 0 if log and self.overview.log is not None else None, missed=not self._looked)
        body = _event("hello", note) + (self._state() if self._looked else b"") + self._lines(viewer)
        first = Reply(body=body, phrase=PHRASES[200], content_type="text/event-stream", headers=SAFE)
        self._viewers.append(viewer)

        def join(outlet: Outlet) -> None:
            viewer.outlet = outlet
            if self._task is None:
                self._task = asyncio.create_task(self._run(), name="dashboard")

        return LiveReply(first, join, lambda: self._leave(viewer))

    def close(self) -> None:
        """End all answers, and admit nobody any more."""
        self._closed = True
        for viewer in list(self._viewers):
            self._end(viewer)

    def _leave(self, viewer: _Viewer) -> None:
        if viewer in self._viewers:
            self._viewers.remove(viewer)
        if self._viewers:
            return
        for task in (self._task, self._asking):
            if task is not None:
                task.cancel()
        self._task = self._asking = self._whole = None
        self._looked = False
        self.overview.forget()

    def _end(self, viewer: _Viewer) -> None:
        if viewer.outlet is not None:
            viewer.outlet.end()
        self._leave(viewer)

    async def _run(self) -> None:
        while self._viewers:
            try:
                spent = await self._look()
            except Exception:
                log.exception("The dashboard's viewers are sent away: the state of the server could not be told")
                for viewer in list(self._viewers):
                    self._end(viewer)
                return
            await asyncio.sleep(max(self._limits.view_interval, spent / _SHARE))

    async def _look(self) -> float:
        """Look at the server, and tell all viewers. Return the processor time (s) that it took."""
        now = monotonic()
        if (self._asking is None or self._asking.done()) and now - self._asked >= _GPU_INTERVAL:
            self._asked = now
            self._asking = asyncio.create_task(self.overview.look_at_gpus())
        found = await self.overview.changes()
        began = thread_time()
        changes = _event("state", found)
        self._whole, self._looked = None, True
        for viewer in list(self._viewers):
            if viewer.outlet is not None:
                self._send(viewer, viewer.outlet, changes, now)
        return self.overview.spent + thread_time() - began

    def _send(self, viewer: _Viewer, outlet: Outlet, changes: bytes, now: float) -> None:
        try:
            viewer.check()
        except InvalidKey as error:
            outlet.send(_event("denied", {"message": error.message}))
            self._end(viewer)
            return
        if outlet.draining:
            self._end(viewer)
        elif not outlet.behind:
            viewer.behind_since = None
            outlet.send((self._state() if viewer.missed else changes) + self._lines(viewer))
            viewer.missed = False
        elif viewer.behind_since is None:
            viewer.behind_since, viewer.missed = now, True
        else:
            viewer.missed = True
            if now - viewer.behind_since > self._limits.viewer_stall:
                outlet.drop()
                self._leave(viewer)

    def _state(self) -> bytes:
        if self._whole is None:
            self._whole = _event("state", self.overview.whole())
        return self._whole

    def _lines(self, viewer: _Viewer) -> bytes:
        """Return the log's lines that a viewer has not got."""
        if viewer.line is None or self.overview.log is None:
            return b""
        viewer.line, lines = self.overview.log.since(viewer.line)
        return _event("log", lines) if lines else b""


def _event(name: str, value: Any) -> bytes:
    """Return a server-sent event; JSON has no line breaks outside of what it escapes."""
    try:
        data = orjson.dumps(value)
    except TypeError:  # a lone surrogate in a text that came from a handler
        data = json.dumps(value, default=str).encode()
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)
