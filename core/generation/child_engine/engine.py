"""RunningEngine: an engine as its worker sees it: started, asked, watched, and stopped.

Starting     its ready URL is asked until that answers 200; the front's startupTimeout ends the worker if it never does.
Asking       each request has a connection of its own; see connection.
Watching     the ready URL is asked again and again. An engine that answers it no more, or with errors, has failed.
Ending       however an engine ends, all its connections are closed, and `on_end` is called once with the reason.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress

from .commands import Launch, environment_of, plan
from .connection import Exchange, ask
from .http_answer import BadAnswer
from .options import EngineOptions
from .process import EngineProcess, describe_code

log = logging.getLogger(__name__)

_LOOK = 0.2  # seconds between two looks at an engine that starts
_TELL = 30.0  # seconds between two lines about that
_READY = 10.0  # seconds that a look at an engine that starts may take
_STRIKES = 3  # bad answers to the watch, one after the other, until an engine has failed
_LAST_WORDS = 1.0  # seconds in which the end of a process follows the end of its connections
_SOON = 0.01  # seconds
_MOST_METRICS = 1 << 20  # bytes
_MOST_SAID = 2000  # characters


class EngineFailed(Exception):
    """An error for a request that its engine has not answered: the text is one line."""


class RunningEngine:
    """An engine of the model `name`. `on_end` is told why it has ended, unless it was stopped."""

    def __init__(self, options: EngineOptions, name: str, on_end: Callable[[str], None]) -> None:
        self.kind = options.kind
        self._options = options
        self._name = name
        self._on_end = on_end
        self._failed = ""
        self._heard_at = 0.0
        self._serves = False
        self._scopes: set[asyncio.Timeout] = set()  # of the requests that are with the engine
        self._tasks: list[asyncio.Task[None]] = []
        self._process: EngineProcess | None = None
        self._launch: Launch
        self._ended: asyncio.Future[str]

    async def start(self, cwd: str, allowed: float = 0.0) -> float:
        """Start the engine, and return after how many seconds it was ready.

        `allowed` are the seconds that it has, for the log. Raises ValueError if it can't be started or ends, with the
        last of what it has printed.
        """
        loop = asyncio.get_running_loop()
        self._ended = loop.create_future()
        self._launch = launch = plan(self._options, self._name)
        environment = environment_of(self._options, os.environ, launch.folder)
        log.info("the engine %s is started: %s", self.kind, " ".join(launch.command))
        try:
            self._process = EngineProcess(launch.command, environment, cwd, launch.folder)
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
            shutil.rmtree(launch.folder, ignore_errors=True)
            raise ValueError(f"the engine {self.kind} can't be started: {error}") from None
        self._process.ended.add_done_callback(lambda ended: self._fail(describe_code(ended.result())))
        started = loop.time()
        told = _TELL
        while not await self._is_ready():
            took = loop.time() - started
            if took >= told:
                told += _TELL
                log.info("the engine %s has been starting for %.0f s%s", self.kind, took, _of(allowed))
            await asyncio.wait([self._ended], timeout=_LOOK)
            if self._ended.done():
                raise ValueError(self._could_not_start())
        return loop.time() - started

    def watch(self, metrics: Callable[[str], None] | None = None) -> None:
        """Look after the engine from now on, and hand its metrics to `metrics`, "" when they can't be read."""
        self._serves = True
        self._heard_at = time.monotonic()
        self._tasks.append(asyncio.get_running_loop().create_task(self._watch()))
        if metrics is not None and self._options.metrics_interval > 0:
            self._tasks.append(asyncio.get_running_loop().create_task(self._read_metrics(metrics)))

    @property
    def failed(self) -> str:
        """Why the engine has ended, "" while it runs."""
        return self._failed

    @asynccontextmanager
    async def ask(
        self, method: str, path: str, body: bytes | bytearray | memoryview, headers: Mapping[str, str]
    ) -> AsyncIterator[Exchange]:
        """Send a request, and return the answer once its head is there; see connection.ask. Raises EngineFailed."""
        if self._failed:
            raise EngineFailed(self._told(self._failed))
        scope = asyncio.timeout(None)
        self._scopes.add(scope)
        try:
            async with scope, ask(self._launch.address, method, path, body, headers, self._hear) as exchange:
                yield exchange
        except (OSError, BadAnswer) as error:  # TimeoutError is an OSError
            raise EngineFailed(await self._reason(error)) from None
        finally:
            self._scopes.discard(scope)

    async def until_unasked(self) -> None:
        """Wait until no request is with the engine."""
        while self._scopes:
            await asyncio.sleep(_SOON)

    def stop(self) -> None:
        """End the engine, and wait for that. To be called when the event loop runs no more."""
        self._failed = self._failed or "was stopped"
        if self._process is not None:
            self._process.stop()

    # ---- its end

    def _fail(self, reason: str, *, hangs: bool = False) -> None:
        if self._failed:
            return
        self._failed = reason
        self._ended.set_result(reason)
        for task in self._tasks:
            task.cancel()
        if (
            hangs
        ):  # the connections of an engine that has ended come to their ends by themselves, behind what they bring
            now = asyncio.get_running_loop().time()
            for scope in list(self._scopes):
                with suppress(RuntimeError):  # it is being entered or left
                    scope.reschedule(now)
        if self._serves:
            self._on_end(self._told(reason))

    async def _reason(self, error: Exception) -> str:
        """Return why a request has failed: the engine's end, which may be told after its connections', or `error`."""
        if not self._failed:
            await asyncio.wait([self._ended], timeout=_LAST_WORDS)
        return self._told(
            self._failed or (str(error) if isinstance(error, BadAnswer) else f"can't be reached: {error}")
        )

    def _told(self, reason: str) -> str:
        return f"the engine {self.kind} {reason}"

    def _could_not_start(self) -> str:
        assert self._process is not None
        said = " | ".join(line for line in self._process.said() if line)
        return f"{self._told(self._failed)} while it started{f'; it said: {said[-_MOST_SAID:]}' if said else ''}"

    # ---- its health and its metrics

    async def _is_ready(self) -> bool:
        """Return whether the ready URL answers 200. While the engine starts, anything else is none of its faults."""
        try:
            async with asyncio.timeout(_READY):
                return await self._status() == 200
        except (OSError, BadAnswer):
            return False

    async def _status(self) -> int:
        async with ask(self._launch.address, "GET", self._launch.ready_path, heard=self._hear) as exchange:
            return exchange.head.status

    async def _watch(self) -> None:
        deadline = self._options.health_timeout
        strikes = 0
        while True:
            await asyncio.sleep(self._options.health_interval)
            fault = ""
            try:
                # In two halves: this process may have been kept from its loop, and find a deadline over at once.
                async with asyncio.timeout(deadline / 2):
                    status = await self._status()
                if status != 200:
                    fault = f"answered {status} to GET {self._launch.ready_path}"
            except TimeoutError:
                if time.monotonic() - self._heard_at >= deadline:
                    fault = f"hangs: it sent nothing for {deadline:g} s, not even to GET {self._launch.ready_path}"
                    strikes = _STRIKES
            except (OSError, BadAnswer) as error:
                fault = str(error) if isinstance(error, BadAnswer) else f"can't be reached: {error}"
            strikes = strikes + 1 if fault else 0
            if strikes >= _STRIKES:
                self._fail(fault, hangs=True)
                return

    async def _read_metrics(self, show: Callable[[str], None]) -> None:
        while True:
            text = ""
            try:
                async with asyncio.timeout(_READY):
                    async with ask(self._launch.address, "GET", self._launch.metrics_path) as exchange:
                        if exchange.head.status == 200:
                            text = (await exchange.whole(_MOST_METRICS)).decode("utf-8", "replace")
            except (OSError, BadAnswer) as error:
                log.debug("the metrics of the engine can't be read: %s", error)
            show(text)
            await asyncio.sleep(self._options.metrics_interval)

    def _hear(self) -> None:
        self._heard_at = time.monotonic()


def _of(allowed: float) -> str:
    return f" of {allowed:g} s (startupTimeout)" if allowed else ""
