"""A whole chaos run: clients and faults at once, for some seconds, and what came of it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from .clients import CAST, play
from .faults import FAULTS, Fault
from .ledger import BAD, Fate, Ledger
from .scene import Scene, descriptors


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run showed. `clean`: nothing lost, wrong, doubled, unexplained or left behind."""

    ledger: Ledger
    remains: tuple[str, ...]
    faults: dict[str, int]
    front: str  # what the last server's front held when all clients had gone

    @property
    def clean(self) -> bool:
        return not self.ledger.bad and not self.remains

    def __str__(self) -> str:
        ledger = self.ledger
        lines = [f"{sum(ledger.fates.values())} requests, {sum(self.faults.values())} faults"]
        lines += [f"  {ledger.fates[fate]:>8}  {fate.value}" for fate in Fate]
        for kind, fates in sorted(ledger.kinds.items()):
            told = ", ".join(f"{count} {fate.name.lower()}" for fate, count in fates.most_common())
            lines.append(f"{kind}: {told}")
        lines.append(
            "statuses: " + ", ".join(f"{status}: {count}" for status, count in sorted(ledger.statuses.items()))
        )
        lines.append("faults: " + ", ".join(f"{name} {count}" for name, count in self.faults.items()))
        lines.append(f"front: {self.front}")
        for fate in BAD:
            lines += [f"{fate.value}: {example}" for example in ledger.examples.get(fate, ())]
        lines += [f"left behind: {what}" for what in self.remains]
        lines.append("clean" if self.clean else "NOT CLEAN")
        return "\n".join(lines)


async def run(
    scene: Scene,
    seconds: float,
    seed: int,
    faults: Sequence[Fault] = FAULTS,
    enough: Callable[[], bool] = lambda: True,
) -> Verdict:
    """Start the scene's server; run for at least `seconds`, until each of `faults` has been caused once and `enough` holds."""
    await scene.start()
    begun = _held(scene)
    players = [
        asyncio.create_task(play(scene, behaviour, f"{seed} {behaviour.__name__} {i}"))
        for behaviour, count in CAST
        for i in range(count)
    ]
    caused = dict.fromkeys((fault.__name__ for fault in faults), 0)
    rng = random.Random(seed)
    over = scene.now() + seconds
    try:
        while scene.now() < over or not all(caused.values()) or not enough():
            await asyncio.sleep(rng.random() * 0.5)
            for fault in faults if not all(caused.values()) else rng.sample(faults, len(faults)):
                await fault(scene, rng)
                scene.watch()
                caused[fault.__name__] += 1
                _raise_of(players)
        scene.over.set()
        await asyncio.gather(*players)
        front = await _at_rest(scene, begun)
    finally:
        for player in players:
            player.cancel()
        _ = await asyncio.gather(*players, return_exceptions=True)
        with contextlib.suppress(psutil.NoSuchProcess):
            _ = await scene.end(signal.SIGTERM)
    scene.count_runs()
    return Verdict(scene.ledger, tuple(scene.remains), caused, front)


def _raise_of(players: Sequence[asyncio.Task[None]]) -> None:
    """A client that broke is a fault of this program, and ends the run."""
    for player in players:
        if player.done():
            player.result()


def _held(scene: Scene) -> tuple[int, int]:
    """The front's open descriptors and resident MiB."""
    pid = scene.server.process.pid
    return descriptors(pid), psutil.Process(pid).memory_info().rss >> 20


async def _at_rest(scene: Scene, begun: tuple[int, int]) -> str:
    """Once all clients have gone: the processes are those that describe tells of, and no request is on its way."""
    deadline = scene.now() + 60.0
    while True:
        told = await scene.told_processes()
        children = psutil.Process(scene.server.process.pid).children(recursive=True)
        there = {child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE}
        busy = await scene.busy()
        if (told == there and not busy) or scene.now() > deadline:
            break
        await asyncio.sleep(0.1)
    scene.remains += [f"a request that nobody waits for: {line}" for line in busy]
    if told != there:
        scene.remains.append(
            f"processes that describe does not tell of: {sorted(there - told)}; dead: {sorted(told - there)}"
        )
    count, memory = _held(scene)
    return f"{begun[0]} descriptors and {begun[1]} MiB after the first start, {count} and {memory} at the end"
