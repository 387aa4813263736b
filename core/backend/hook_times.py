"""HookTimes: how long the hooks of a handler take, in the batches that are recorded.

The hooks are wrapped at the first such batch, as attributes of the handler itself: so a handler that has a `handle` of
its own is measured too, and one that is never recorded is left as it is.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ..wire.messages import Timing

HOOKS = {
    "preprocess": "preprocess",
    "inference": "inference",
    "postprocess": "postprocess",
    "explain_handle": "explain",
}
MOST = 64  # of one batch, which micro-batching cuts

_OF_TASK: ContextVar[Recording | None] = ContextVar("_OF_TASK", default=None)


@dataclass(slots=True)
class Recording:
    """The hooks of one batch that the process had at `since`, a time of `time.perf_counter`."""

    since: float
    hooks: list[tuple[str, float, float]] = field(default_factory=list[tuple[str, float, float]])

    def add(self, name: str, began: float) -> None:
        """Add a hook that has ended now."""
        if len(self.hooks) < MOST:
            self.hooks.append((name, began - self.since, time.perf_counter() - self.since))


class HookTimes:
    """The clock of one handler's hooks. With `shared` several batches run at a time, each in a task of its own."""

    def __init__(self, entry: Callable[..., Any], *, shared: bool) -> None:
        # A method's object, or the handler of a MicroBatching; a function has no hooks.
        self._handler = getattr(entry, "__self__", None) or getattr(entry, "handler", None)
        self._shared = shared
        self._wrapped = False
        self._running: Recording | None = None  # also for the hooks that run in threads of the handler

    def begin(self, now: float) -> Recording:
        """Record the hooks of a batch that begins now."""
        if not self._wrapped:
            self._wrapped = True
            self._wrap()
        recording = Recording(now)
        if self._shared:
            _OF_TASK.set(recording)
        else:
            self._running = recording
        return recording

    def end(self, recording: Recording, started: float, took: float) -> Timing:
        """Return the times of a batch whose handler started at `started` and took `took` ms."""
        self._running = None
        began = started - recording.since
        return Timing(time.perf_counter() - recording.since, (began, began + took / 1e3), tuple(recording.hooks))

    def _recording(self) -> Recording | None:
        return _OF_TASK.get() if self._shared else self._running

    def _wrap(self) -> None:
        for attribute, name in HOOKS.items():
            hook = getattr(self._handler, attribute, None)
            if callable(hook):
                with suppress(Exception):  # a handler that takes no attributes goes on without times
                    setattr(self._handler, attribute, self._timed(hook, name))

    def _timed(self, hook: Callable[..., Any], name: str) -> Callable[..., Any]:
        if inspect.iscoroutinefunction(hook):

            @functools.wraps(hook)
            async def timed_coroutine(*args: Any, **kwargs: Any) -> Any:
                recording = self._recording()
                if recording is None:
                    return await hook(*args, **kwargs)
                began = time.perf_counter()
                try:
                    return await hook(*args, **kwargs)
                finally:
                    recording.add(name, began)

            return timed_coroutine

        @functools.wraps(hook)
        def timed(*args: Any, **kwargs: Any) -> Any:
            recording = self._recording()
            if recording is None:
                return hook(*args, **kwargs)
            began = time.perf_counter()
            try:
                return hook(*args, **kwargs)
            finally:
                recording.add(name, began)

        return timed
