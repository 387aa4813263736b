"""The whole generator: its processes, the warm-up they agree on, and what they have counted together."""

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

_AHEAD = 0.1  # seconds between saying when something begins and its beginning
_STARTING = 60.0
_SPARE = 30.0  # seconds over what a run may take at most


class GeneratorError(Exception):
    """The generator could not do its work; the text says why, and it is no finding about the server's speed."""


def drive(scenario: Scenario) -> Outcome:
    """Runs the scenario to its end. Raises GeneratorError, also where the server takes no connection at all."""
    count = scenario.processes
    if isinstance(scenario.load, Closed):
        count = min(count, scenario.load.connections)  # a process without a connection has nothing to do
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
    context = multiprocessing.get_context("spawn")  # a fork would bring the caller's threads' locks along
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
    """The windows of all processes together, until the last ones agree or there have been enough."""
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
    """One message of this kind from each; later windows that come meanwhile are dropped."""
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
