"""Whatever commands come, in whatever order, and whoever of their clients leaves: there are the processes that
management tells of, and at the end none.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from torchserve.core.errors import ServeError

from .lives import Lives, Remains

Step: TypeAlias = "tuple[str, int]"

_COUNTS = st.integers(0, 3)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("register"), st.integers(0, 2)),
        st.tuples(st.just("scale"), _COUNTS),
        st.tuples(
            st.sampled_from(("unregister", "renew", "unload", "reload", "ask", "leave", "kill", "wait")), _COUNTS
        ),
        st.tuples(st.sampled_from(("shut load", "shut run", "shut fail", "fill gpu", "open")), st.just(0)),
        st.tuples(st.just("turns"), st.integers(1, 30)),
    ),
    min_size=4,
    max_size=14,
)


@contextmanager
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "gates").mkdir()
        (Path(folder) / "store").mkdir()
        os.environ["LIVES_GATES"] = f"{folder}/gates"
        try:
            yield Path(folder)
        finally:
            del os.environ["LIVES_GATES"]


class Run:
    """Carries out steps; commands go on in the background, as those of clients do."""

    def __init__(self, lives: Lives) -> None:
        self.lives = lives
        self.commands: list[asyncio.Future[Any]] = []

    async def step(self, kind: str, number: int) -> None:
        lives = self.lives
        models = list(lives.registry)
        pool = models[0].pool if models else None
        if kind == "register":
            self._begin(lives.register, initial_workers=number)
        elif kind == "scale":
            self._begin(lives.scale, number)
        elif kind == "unregister":
            self._begin(lives.plane.unregister, "m", None)
        elif kind == "renew":
            self._begin(lives.plane.renew, "m", 0.0)
        elif kind == "unload" and pool is not None:
            self._begin(pool.unload, lambda: True)
        elif kind == "reload" and pool is not None:
            self._begin(pool.reload)
        elif kind == "ask" and pool is not None:
            with suppress(ServeError):
                lives.ask()
        elif kind == "kill" and pool is not None:
            for slot in pool.slots[number : number + 1]:
                if slot.worker is not None:
                    with suppress(ProcessLookupError):
                        os.kill(slot.worker.process.pid, signal.SIGKILL)
        else:
            await self._wait(kind, number)

    async def _wait(self, kind: str, number: int) -> None:
        """Steps that are not commands of the server's."""
        if kind == "leave":  # a client does, of those whose commands are not done yet
            for command in [each for each in self.commands if not each.done()][number : number + 1]:
                command.cancel()
        elif kind == "wait":
            await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0.05)), *self.commands[-1:]], timeout=0.2)
        elif kind == "turns":
            for _ in range(number):
                await asyncio.sleep(0)
        elif kind == "open":
            self.lives.opened()
        elif kind == "fill gpu":
            self.lives.gpu.free = 0
        elif kind.startswith("shut "):
            self.lives.shut(kind.removeprefix("shut "))

    def _begin(self, work: Any, *arguments: Any, **options: Any) -> None:
        self.commands.append(self.lives.begin(work, *arguments, **options))

    async def over(self) -> None:
        self.lives.opened()
        if self.commands:
            await asyncio.wait(self.commands, timeout=120)
        assert all(command.done() for command in self.commands)
        for command in self.commands:
            if not command.cancelled():
                command.result()


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
async def test_whatever_comes_no_process_is_forgotten(steps: list[Step]) -> None:
    await asyncio.to_thread(int)
    with home() as folder:
        remains = Remains(folder)
        lives = Lives(folder, folder / "gates", unregister_model_timeout=60)
        run = Run(lives)
        await lives.register()
        for kind, number in steps:
            await run.step(kind, number)
        await run.over()
        await lives.settled()
        await lives.end()
        await remains.none()


@pytest.mark.thorough
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
async def test_whatever_goes_on_the_server_stops(steps: list[Step]) -> None:
    await asyncio.to_thread(int)
    with home() as folder:
        remains = Remains(folder)
        lives = Lives(folder, folder / "gates", unregister_model_timeout=60)
        run = Run(lives)
        await lives.register()
        for kind, number in steps:
            await run.step(kind, number)
        await lives.end()
        await run.over()
        await remains.none()
