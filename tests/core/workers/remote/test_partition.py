"""A network that drops all packets, and comes back: a node in a network namespace of its own, which only root can make."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from torchserve.core.errors import WorkerDied
from torchserve.core.workers.load_failed import LoadFailed
from torchserve.core.workers.remote.placer import Demand, Place, Told

from ...doubles import until
from .child_placer import ChildPlacer
from .site import Site
from .test_remote_process import alive, held, hurry, pid_of

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces are made by root, with ip"
)


class Network:
    """A namespace that is joined to this host by one cable."""

    def __init__(self) -> None:
        number = os.getpid()
        self.space, self._ours, theirs = f"tsn{number}", f"tsa{number}", f"tsb{number}"
        subnet = f"10.213.{number % 250}"
        self.address = f"{subnet}.1"
        self._ip("netns", "add", self.space)
        self._ip("link", "add", self._ours, "type", "veth", "peer", "name", theirs, "netns", self.space)
        self._ip("addr", "add", f"{self.address}/24", "dev", self._ours)
        self._ip("-n", self.space, "addr", "add", f"{subnet}.2/24", "dev", theirs)
        self._ip("-n", self.space, "link", "set", theirs, "up")
        self._ip("-n", self.space, "link", "set", "lo", "up")
        self.heal()

    def cut(self) -> None:
        """Drop every packet from now on; no end learns of it."""
        self._ip("link", "set", self._ours, "down")

    def heal(self) -> None:
        self._ip("link", "set", self._ours, "up")

    def remove(self) -> None:
        self._ip("link", "del", self._ours)
        self._ip("netns", "del", self.space)

    @staticmethod
    def _ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)


class FarPlacer(ChildPlacer):
    """An engine whose node is behind the network."""

    def __init__(self, cache: Path, network: Network) -> None:
        super().__init__(cache)
        self.network = network
        self.inside = ("ip", "netns", "exec", network.space)

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
