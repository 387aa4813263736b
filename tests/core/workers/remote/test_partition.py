"""A network that drops packets, or all of them, and comes back: a node in a network namespace of its own, which only root
can make.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from torchserve.core.errors import WorkerDied
from torchserve.core.workers.load_failed import LoadFailed
from torchserve.core.workers.remote.placer import Demand, Place, Told

from ....standins.network import Network, needs_network
from ...doubles import until
from .child_placer import ChildPlacer
from .site import Site
from .test_remote_process import alive, held, hurry, pid_of

pytestmark = needs_network


class FarPlacer(ChildPlacer):
    """An engine whose node is behind the network."""

    def __init__(self, cache: Path, network: Network) -> None:
        super().__init__(cache)
        self.network = network
        self.inside = network.inside

    async def open(self) -> str:
        return self.network.address

    async def place(self, order: str, demand: Demand, ticket: bytes, waits: Told, lost: Told) -> Place:
        await super().place(order, demand, ticket, waits, lost)
        return Place("far")


@pytest.fixture
def network() -> Iterator[Network]:
    try:
        made = Network()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine makes no network namespaces: {error.stderr!r}")
    yield made
    made.remove()


@pytest.fixture
async def far(tmp_path: Path, network: Network) -> AsyncIterator[Site]:
    site = Site(tmp_path, beat=1.0)
    site.placer = FarPlacer(site.cache, network)
    site.workers.placer = site.placer
    yield site
    await site.close()


async def test_a_node_that_is_cut_off_fails_its_batch_once_and_is_not_heard_when_it_comes_back(
    far: Site, network: Network, tmp_path: Path
) -> None:
    worker = await far.worker()
    running, queued = await held(far, tmp_path)
    network.cut()
    hurry(worker)
    assert "no sign of life for" in await worker.ended
    assert isinstance(running.outcome, WorkerDied)
    assert "on node far" in str(running.outcome)
    (tmp_path / "free").touch()  # the handler answers, to nobody
    network.heal()
    await far.worker("W-9001-m_1.0")
    await queued.told.wait()
    assert (len(running.heard), len(queued.heard)) == (1, 1), "nothing is answered twice"
    await until(lambda: not alive(pid_of(worker)))


async def test_a_start_that_was_given_up_behind_a_partition_is_refused_when_it_heals(
    far: Site, network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    await far.workers.files_of(far.model_dir)  # the listener is open
    network.cut()
    process = far.process()
    worker = far.around(process)
    loading = asyncio.ensure_future(worker.load(60.0, 60.0))
    await until(lambda: far.placer.orders)
    process.kill()
    with pytest.raises(LoadFailed):
        await loading
    network.heal()
    await until(lambda: "it belongs to a start that was given up (an old epoch)" in caplog.text)
    (minder,) = far.placer.orders.values()
    await until(lambda: minder.poll() is not None)


async def test_what_a_full_network_drops_is_sent_again_and_answered_once(far: Site, network: Network) -> None:
    await far.worker()
    try:
        network.crowd("50mbit")
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine's network can't be made narrow: {error.stderr!r}")
    sinks = [far.submit(bytes([65 + number]) * 100_000) for number in range(8)]
    async with asyncio.timeout(60):
        await asyncio.gather(*(sink.told.wait() for sink in sinks))
    assert network.dropped() > 0
    assert [bytes(sink.outcome.body)[:100_000] for sink in sinks] == [
        bytes([65 + number]) * 100_000 for number in range(8)
    ]
    assert {len(sink.heard) for sink in sinks} == {1}
