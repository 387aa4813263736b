"""The load generator as its caller sees it: starts the processes, ends the warm-up for all of them, and merges their
tallies.

The parent sends (START, time) to all processes, receives one (WINDOW, histogram) from each per window of the warm-up,
sends (MEASURE, begin, end, requests), and receives one (TALLY, tally) from each. A process that can't connect sends
(BROKEN, reason).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from .generator_process import BROKEN, MEASURE, READY, START, TALLY, WINDOW, play
from .histogram import Histogram
from .outcome import Outcome
from .scenario import Closed, Scenario
from .steady import WINDOWS, Window, steady
from .tally import Tally

_AHEAD = 0.1  # seconds by which a start is announced ahead, so that all processes know it in time
_STARTING = 60.0  # seconds that the processes may take to start and connect
_SPARE = 30.0  # seconds to wait for a process beyond what its work should take


class GeneratorError(Exception):
    """An error of the load generator itself, which says nothing about the server's speed."""


def drive(scenario: Scenario) -> Outcome:
    """Run the scenario and return its outcome.

    Raises GeneratorError if a process of the generator fails, or if the server accepts no connection.
    """
    count = scenario.processes
    if isinstance(scenario.load, Closed):
        count = min(count, scenario.load.connections)  # a process without a connection has nothing to do
    if scenario.rpc:
        count = min(count, scenario.channels)
    with _processes(scenario, count) as pipes:
        _gather(pipes, READY, _STARTING)
        start = time.monotonic() + _AHEAD
        _tell(pipes, (START, start))
        windows, settled = _warm_up(scenario, pipes)
        begin = time.monotonic() + _AHEAD if windows else start
        length = scenario.length()
        finish = begin + length if scenario.requests is None else float("inf")
        for place, pipe in enumerate(pipes):
            pipe.send((MEASURE, begin, finish, _quota(scenario, place, count)))
        spare = scenario.timeout * 2 + _SPARE
        tallies = _gather(pipes, TALLY, None if scenario.requests else length + spare)
    total = Tally()
    for tally, *_ in tallies:
        total.merge(tally)
    seconds = length if scenario.requests is None else max(total.last - begin, 1e-9)
    return Outcome(scenario, total, seconds, begin - start, windows, settled, count)


def _quota(scenario: Scenario, place: int, count: int) -> float:
    if scenario.requests is None:
        return float("inf")
    return scenario.requests // count + (place < scenario.requests % count)


@contextlib.contextmanager
def _processes(scenario: Scenario, count: int) -> Iterator[list[Connection]]:
    context = multiprocessing.get_context("spawn")  # a forked child would inherit locks held by the caller's threads
    pipes: list[Connection] = []
    children = []
    try:
        for place in range(count):
            ours, theirs = context.Pipe()
            child = context.Process(target=play, args=(scenario, place, count, theirs), daemon=True)
            child.start()
            theirs.close()
            pipes.append(cast("Connection", ours))
            children.append(child)
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for child in children:
            child.join(5)
            if child.is_alive():
                child.kill()
                child.join()


def _tell(pipes: list[Connection], message: tuple[object, ...]) -> None:
    for pipe in pipes:
        pipe.send(message)


def _warm_up(scenario: Scenario, pipes: list[Connection]) -> tuple[list[Window], bool]:
    """Return the merged windows of the warm-up, and whether they have settled.

    The warm-up ends when the last windows agree, or after scenario.most_windows windows.
    """
    windows: list[Window] = []
    while len(windows) < scenario.most_windows:
        whole = Histogram()
        for (part,) in _gather(pipes, WINDOW, scenario.window + _SPARE):
            whole.merge(part)
        windows.append(Window(whole.count / scenario.window, whole.quantile(0.5)))
        if steady(windows, scenario.tolerance):
            return windows, True
    return windows, scenario.most_windows < WINDOWS


def _gather(pipes: list[Connection], kind: str, seconds: float | None) -> list[tuple[Any, ...]]:
    """Return one message of this kind from each process, in the processes' order. Messages of other kinds are dropped.

    Raises GeneratorError after `seconds`, which may be None for no limit.
    """
    limit = None if seconds is None else time.monotonic() + seconds
    got: dict[int, tuple[Any, ...]] = {}
    while len(got) < len(pipes):
        lacking = [pipe for place, pipe in enumerate(pipes) if place not in got]
        ready = wait(lacking, None if limit is None else max(limit - time.monotonic(), 0))
        if not ready:
            raise GeneratorError(f"a process of the load generator gave no {kind} within {seconds:.0f} s")
        for pipe in ready:
            said = _receive(cast("Connection", pipe))
            if said[0] == kind:
                got[pipes.index(cast("Connection", pipe))] = said[1:]
    return [got[place] for place in range(len(pipes))]


def _receive(pipe: Connection) -> tuple[Any, ...]:
    try:
        said = pipe.recv()
    except (EOFError, OSError):
        raise GeneratorError("a process of the load generator ended; what it printed says why") from None
    if said[0] == BROKEN:
        raise GeneratorError(f"no connection: {said[1]}")
    return said
