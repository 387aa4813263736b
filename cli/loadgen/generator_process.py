"""A process of the load generator, which runs its part of the scenario and reports to its parent through a pipe.

generator.py describes the messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
import time
from multiprocessing.connection import Connection
from typing import Any

import uvloop

from .closed_loop import ClosedLoop
from .open_loop import OpenLoop
from .scenario import Closed, Scenario
from .tally import Tally

_TICK = 0.05
_GARBAGE = 20_000  # allocated objects between two garbage collections

READY, WINDOW, TALLY, BROKEN = "ready", "window", "tally", "broken"
START, MEASURE = "start", "measure"


def play(scenario: Scenario, place: int, parts: int, pipe: Connection) -> None:
    """Run one process's part of the scenario. Return when the tally is sent or the parent has closed the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent receives Ctrl-C as well, and closes the pipe
    gc.collect()
    gc.freeze()
    # A pause for garbage collection would be counted as latency. Only connections make reference cycles here.
    gc.set_threshold(_GARBAGE)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_GeneratorProcess(scenario, place, parts, pipe).run())
    except OSError as error:
        _tell(pipe, (BROKEN, str(error)))
    except EOFError:
        pass
    finally:
        pipe.close()


def _tell(pipe: Connection, message: tuple[object, ...]) -> None:
    try:
        pipe.send(message)
    except OSError:
        raise EOFError from None


class _GeneratorProcess:
    """The event loop's side of a generator process: a load loop, and the messages to and from the parent."""

    def __init__(self, scenario: Scenario, place: int, parts: int, pipe: Connection) -> None:
        kind = ClosedLoop if isinstance(scenario.load, Closed) else OpenLoop
        self._client = kind(scenario, place, parts)
        self._scenario, self._pipe = scenario, pipe
        self._heard: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()
        self._gone = False

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        await self._client.prepare()
        loop.add_reader(self._pipe.fileno(), self._hear)
        try:
            _tell(self._pipe, (READY,))
            _, start = await self._next()
            # Without a warm-up all requests count: the times of the measurement must be known before any is sent.
            told = None if self._scenario.most_windows else await self._next()
            self._client.start(start)
            _, begin, finish, requests = told or await self._warm_up(start)
            self._client.measure(begin, finish, requests)
            tally = await self._finish()
            _tell(self._pipe, (TALLY, tally))
        finally:
            loop.remove_reader(self._pipe.fileno())
            self._client.close()

    def _hear(self) -> None:
        try:
            self._heard.put_nowait(self._pipe.recv())
        except (EOFError, OSError):
            self._gone = True
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())
            self._heard.put_nowait(())

    async def _next(self) -> tuple[Any, ...]:
        message = await self._heard.get()
        if self._gone:
            raise EOFError
        return message

    async def _warm_up(self, start: float) -> tuple[Any, ...]:
        """Send a window to the parent each `scenario.window` seconds, until its MEASURE message comes. Return that
        message.
        """
        end = start + self._scenario.window
        message = None
        while message is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(_TICK, max(end - time.monotonic(), 0))):
                    message = await self._next()
            now = time.monotonic()
            self._client.tick(now)
            if now >= end:
                _tell(self._pipe, (WINDOW, self._client.recorder.take_window()))
                end += self._scenario.window
        return message

    async def _finish(self) -> Tally:
        recorder = self._client.recorder
        await asyncio.sleep(max(recorder.begin - time.monotonic(), 0))
        before = _spent()
        busy = None
        while not self._client.over(now := time.monotonic()):
            if self._gone:
                raise EOFError
            if busy is None and now >= recorder.end:
                busy = _spent() - before
            self._client.tick(now)
            await asyncio.sleep(_TICK)
        tally = recorder.tally
        tally.busy = tally.busiest = _spent() - before if busy is None else busy
        return tally


def _spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
