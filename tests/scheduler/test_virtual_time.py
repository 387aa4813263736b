from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from torchserve.scheduler.virtual_time import Deadlock, VirtualLoop


def test_time_jumps(run: Callable[..., Any]):
    async def main() -> tuple[float, list[str]]:
        order: list[str] = []

        async def nap(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            order.append(name)

        await asyncio.gather(nap("year", 365 * 86400.0), nap("hour", 3600.0), nap("moment", 1e-9))
        return asyncio.get_running_loop().time(), order

    assert run(main()) == (365 * 86400.0, ["moment", "hour", "year"])


def test_time_stands_still_while_something_is_ready(run: Callable[..., Any]):
    async def main() -> float:
        for _ in range(100):
            await asyncio.sleep(0)
        return asyncio.get_running_loop().time()

    assert run(main()) == 0.0


def test_it_starts_where_it_is_told():
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(1000.0)) as runner:
        assert runner.get_loop().time() == 1000.0


def test_a_deadlock_is_an_error_that_names_the_tasks():
    async def main() -> None:
        await asyncio.sleep(5)
        await asyncio.get_running_loop().create_future()

    loop = VirtualLoop()
    try:
        task = loop.create_task(main(), name="the one that hangs")
        with pytest.raises(Deadlock, match=r"at 5\.0 s.*the one that hangs"):
            loop.run_until_complete(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
    finally:
        loop.close()


def test_descriptors_that_are_ready_are_served(run: Callable[..., Any]):
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.setblocking(False)
            theirs.send(b"hello")
            return await loop.sock_recv(ours, 16)

    assert run(main()) == b"hello"
