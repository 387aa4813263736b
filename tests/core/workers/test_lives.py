"""Each state of a worker, and each command that may come then: afterwards there are the processes that management tells
of, and nothing else. The processes are real.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import psutil
import pytest

from torchserve.core.errors import WorkersFailed
from torchserve.core.workers.pool import SlotState

from ..doubles import until
from .lives import Lives, Remains, children

LOADING, READY, WAITING, STOPPING = SlotState.LOADING, SlotState.READY, SlotState.WAITING, SlotState.STOPPING


@pytest.fixture
async def remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Remains]:
    """What must not be left behind, checked at the end."""
    await asyncio.to_thread(int)
    (tmp_path / "gates").mkdir()
    (tmp_path / "store").mkdir()
    monkeypatch.setenv("LIVES_GATES", str(tmp_path / "gates"))
    before = Remains(tmp_path)
    yield before
    await before.none()


@pytest.fixture
async def lives(tmp_path: Path, remains: Remains) -> AsyncIterator[Lives]:
    made = Lives(tmp_path, tmp_path / "gates", unregister_model_timeout=60)
    yield made
    await made.end()


State: TypeAlias = Callable[[Lives], Awaitable[None]]
Command: TypeAlias = Callable[[Lives], Awaitable[Any]]


async def one_starts(lives: Lives) -> asyncio.Future[Any]:
    await lives.register()
    return lives.begin(lives.scale, 1)


async def being_placed(lives: Lives) -> None:
    lives.gpu.free = 0
    await one_starts(lives)
    await until(lives.states(LOADING))


async def spawned(lives: Lives) -> None:
    await one_starts(lives)
    before = children()
    await until(lambda: children() - before)


async def loading(lives: Lives) -> None:
    lives.shut("load")
    await one_starts(lives)
    await until(lives.reached("load"))


async def idle(lives: Lives) -> None:
    await (await one_starts(lives))


async def busy(lives: Lives) -> None:
    await idle(lives)
    lives.shut("run")
    lives.ask()
    await until(lives.reached("run"))


async def waiting(lives: Lives) -> None:
    lives.shut("fail")
    await one_starts(lives)
    await until(lives.states(WAITING))


async def stopping(lives: Lives) -> None:
    """A smaller pool was asked for, and the one worker still runs a batch."""
    await busy(lives)
    lives.begin(lives.scale, 0)
    await until(lives.states(STOPPING))


async def given_up(lives: Lives) -> None:
    lives.shut("fail")
    await one_starts(lives)
    await until(lives.states(WAITING))
    lives.model.pool._max_retry = 0.0
    lives.model.pool._give_up(lives.model.pool.slots[0])


async def half_cancelled(lives: Lives) -> None:
    """The client that made the pool smaller has left in the middle."""
    await busy(lives)
    command = lives.begin(lives.scale, 0)
    await until(lives.states(STOPPING))
    command.cancel()


async def scale_to_none(lives: Lives) -> None:
    await lives.scale(0)
    assert (lives.model.pool.slots, children()) == ([], set())


async def scale_up(lives: Lives) -> None:
    await lives.scale(2)
    assert len(lives.model.pool.slots) == 2


async def unregister(lives: Lives) -> None:
    await lives.plane.unregister("m", None)
    assert children() == set()


async def renew(lives: Lives) -> None:
    await lives.plane.renew("m", 0.0)


async def unload(lives: Lives) -> None:
    """What onDemand models do to make room."""
    await lives.model.pool.unload(lambda: True)
    assert children() == set()


async def unload_and_reload(lives: Lives) -> None:
    pool = lives.model.pool
    unloading = lives.begin(pool.unload, lambda: True)
    await until(lambda: pool.unloaded or pool.maximum == 0)
    await asyncio.gather(unloading, lives.begin(pool.reload))


async def stop_the_server(lives: Lives) -> None:
    await lives.plane.close(0.0)
    assert children() == set()


STATES = (being_placed, spawned, loading, idle, busy, waiting, given_up, stopping, half_cancelled)
RUNNING = (busy, stopping, half_cancelled)
COMMANDS = (
    scale_to_none,
    scale_up,
    unregister,
    stop_the_server,
    *(pytest.param(each, marks=pytest.mark.thorough) for each in (renew, unload, unload_and_reload)),
)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("state", STATES)
async def test_each_command_in_each_state_leaves_what_is_told(lives: Lives, state: State, command: Command) -> None:
    await state(lives)
    work = asyncio.ensure_future(command(lives))
    for _ in range(10):
        await asyncio.sleep(0)  # it has begun
    if command in {scale_up, renew, unload_and_reload} or (state in RUNNING and command is not stop_the_server):
        lives.opened()
    async with asyncio.timeout(120):
        await work
    await lives.settled()


@pytest.mark.parametrize("command", [scale_to_none, unregister, stop_the_server])
@pytest.mark.parametrize(
    "turns", [*range(3), *(pytest.param(turn, marks=pytest.mark.thorough) for turn in range(3, 12))]
)
async def test_a_worker_ends_at_whatever_turn_of_its_start_a_command_comes(
    lives: Lives, turns: int, command: Command
) -> None:
    await one_starts(lives)
    while not lives.model.pool.slots:
        await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    await command(lives)
    await lives.settled()


async def test_down_up_and_away_a_dozen_times(lives: Lives) -> None:
    for _ in range(12):
        await lives.register()
        await lives.scale(1)
        down, up = lives.begin(lives.scale, 0), lives.begin(lives.scale, 2)
        await asyncio.sleep(0)
        await lives.plane.unregister("m", None)
        await asyncio.gather(down, up)
        assert children() == set()


@pytest.mark.parametrize("state", [being_placed, spawned, loading])
async def test_a_registration_whose_client_leaves_is_undone(lives: Lives, state: State) -> None:
    if state is being_placed:
        lives.gpu.free = 0
    if state is loading:
        lives.shut("load")
    registration = asyncio.ensure_future(lives.register(initial_workers=1))
    await until(lambda: "m/1.0" in lives.names and lives.states(LOADING)())
    if state is not being_placed:
        await until(children if state is spawned else lives.reached("load"))
    registration.cancel()
    with pytest.raises(asyncio.CancelledError):
        await registration
    await until(lambda: not children())
    assert lives.names == []


@pytest.mark.parametrize(
    "turns", [1, 4, 13, *(pytest.param(turn, marks=pytest.mark.thorough) for turn in (7, 10, *range(16, 40, 3)))]
)
async def test_whenever_the_client_leaves_nothing_stays(lives: Lives, turns: int) -> None:
    registration = lives.begin(lives.register, initial_workers=1)
    for _ in range(turns):
        await asyncio.sleep(0.001)
    registration.cancel()
    await asyncio.wait([registration])
    await until(lambda: lives.names == [] or (registration.done() and not registration.cancelled()))


async def test_a_synchronous_registration_that_fails_leaves_nothing(lives: Lives) -> None:
    lives.shut("fail")
    with pytest.raises(WorkersFailed, match="told to fail"):
        await lives.register(initial_workers=2)
    assert (children(), lives.names, lives.gpu.leases) == (set(), [], set())


@pytest.mark.parametrize("state", [busy, loading])
async def test_an_unregistration_whose_client_leaves_is_done_all_the_same(lives: Lives, state: State) -> None:
    await state(lives)
    command = lives.begin(lives.plane.unregister, "m", None)
    await asyncio.sleep(0)
    command.cancel()
    await asyncio.wait([command])
    assert lives.names == []
    lives.opened()
    await until(lambda: not children())


async def test_a_stop_of_the_server_hastens_an_unregistration(lives: Lives) -> None:
    """Otherwise it would wait for as long as the batch takes, or unregister_model_timeout."""
    await busy(lives)
    command = lives.begin(lives.plane.unregister, "m", None)
    await asyncio.sleep(0)
    await lives.plane.close(0.0)
    assert children() == set()
    await command


async def test_a_start_that_fails_unforeseen_is_told(lives: Lives) -> None:
    """An error that no code expects must not leave a client waiting for ever."""
    await lives.register()
    lives.gpu.visible = broken  # type: ignore[method-assign]
    with pytest.raises(WorkersFailed, match="could not be started: PermissionError: no"):
        await lives.scale(1)
    assert lives.model.pool.slots[0].state is WAITING


async def broken() -> Any:
    raise PermissionError("no")


def ours(gates: Path) -> set[int]:
    """The pids of all processes that were started with these gates, whoever is their parent now."""
    found: set[int] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("LIVES_GATES") == str(gates) and process.status() != psutil.STATUS_ZOMBIE:
                found.add(process.pid)
    return found - {os.getpid()}


@pytest.mark.parametrize("processes", [1, 2, 3])
async def test_ranks_that_are_stopped_while_they_start_all_end(
    tmp_path: Path, remains: Remains, processes: int
) -> None:
    """The first process is torchrun's, the others are the ranks."""
    parallel = "deviceType: cpu\nparallelType: tp\ntorchrun:\n  nproc-per-node: 2\n"
    lives = Lives(tmp_path, tmp_path / "gates", parallel)
    lives.shut("load")
    await one_starts(lives)
    async with asyncio.timeout(200):
        while len(ours(lives.gates)) < processes:
            await asyncio.sleep(0.01)
    await lives.plane.unregister("m", None)
    await until(lambda: not ours(lives.gates))
    await lives.end()
