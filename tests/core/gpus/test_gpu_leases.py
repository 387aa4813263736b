"""GpuLeases and GpuAllocator: promises of GPU memory, across processes that die without a word."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from torchserve.core.gpus.gpu_leases import GpuLeases
from torchserve.scheduler.errors import NoRoom
from torchserve.scheduler.gpu import Gpu, Lease
from torchserve.scheduler.placement import Claim, place, room

GIB = 1 << 30

# A server: promises what it is told to, says so, and waits to be killed.
SERVER = """
import asyncio, sys
from pathlib import Path
from torchserve.core.gpus.gpu_leases import GpuLeases
from torchserve.scheduler.gpu import Lease

async def main():
    ledger = GpuLeases(Path(sys.argv[1]))
    async with ledger.exclusive() as others:
        ledger.leases = [Lease("GPU-0", "W-9000", "m", 7)]
        ledger.write()
    print(len(others), flush=True)
    if sys.argv[2] == "hold":
        async with ledger.exclusive():
            print("held", flush=True)
            sys.stdin.read()
    sys.stdin.read()
    ledger.close()

asyncio.run(main())
"""


def server(folder: Path, what: str = "wait") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SERVER, str(folder), what], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


async def others(ledger: GpuLeases) -> list[Lease]:
    async with ledger.exclusive() as found:
        return found


async def test_a_server_sees_what_others_promised(tmp_path: Path):
    folder = tmp_path / "leases"
    ours, theirs = GpuLeases(folder), server(folder)
    assert theirs.stdout
    assert theirs.stdout.readline() == "0\n"
    assert await others(ours) == [Lease("GPU-0", "W-9000", "m", 7)]
    theirs.communicate("")  # it ends as it should
    assert await others(ours) == []
    assert [path.suffix for path in folder.iterdir() if path.name != "lock"] == [".alive"]  # our own
    ours.close()
    assert [path.name for path in folder.iterdir()] == ["lock"]


async def test_promises_of_a_killed_server_are_void_and_its_files_go(tmp_path: Path):
    folder = tmp_path / "leases"
    ours, theirs = GpuLeases(folder), server(folder)
    assert theirs.stdout
    theirs.stdout.readline()
    theirs.send_signal(signal.SIGKILL)
    theirs.communicate()
    assert len(list(folder.glob("*.leases"))) == 1
    assert await others(ours) == []
    assert list(folder.glob("*.leases")) == []
    ours.close()


async def test_a_server_killed_inside_lets_go_of_the_lock(tmp_path: Path):
    folder = tmp_path / "leases"
    ours, theirs = GpuLeases(folder), server(folder, "hold")
    assert theirs.stdout
    theirs.stdout.readline()
    assert theirs.stdout.readline() == "held\n"
    waiting = asyncio.create_task(others(ours))
    await asyncio.sleep(0)
    assert not waiting.done()
    theirs.send_signal(signal.SIGKILL)
    assert await waiting == []
    theirs.communicate()
    ours.close()


async def test_a_lock_that_is_never_let_go_is_named_and_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr("torchserve.core.gpus.gpu_leases.PATIENCE", 0.05)
    folder = tmp_path / "leases"
    ours, theirs = GpuLeases(folder), server(folder, "hold")
    assert theirs.stdout
    theirs.stdout.readline()
    theirs.stdout.readline()
    assert await others(ours) == []
    assert "GPU memory is not shared out with other servers of this host" in caplog.text
    theirs.communicate("")
    ours.close()


async def test_a_folder_that_can_t_be_used_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    (tmp_path / "file").write_text("")
    ledger = GpuLeases(tmp_path / "file" / "leases")
    assert await others(ledger) == []
    ledger.leases = [Lease("GPU-0", "W", "m", 1)]
    ledger.write()
    ledger.close()
    assert "is not shared out" in caplog.text


@pytest.mark.parametrize("text", ["", "{", "[]", '{"leases": [{"uuid": 1}]}', '{"leases": 3}', "\0"])
async def test_a_file_that_is_no_ledger_s_is_passed_over(tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture):
    ours, theirs = GpuLeases(tmp_path), GpuLeases(tmp_path)
    await others(theirs)
    theirs.leases = [Lease("GPU-0", "W", "m", 1)]
    theirs.write()
    next(tmp_path.glob("*.leases")).write_text(text)
    assert await others(ours) == []
    assert "is passed over" in caplog.text
    ours.close()
    theirs.close()


async def test_a_link_in_the_folder_is_not_followed(tmp_path: Path):
    folder, secret = tmp_path / "leases", tmp_path / "secret"
    folder.mkdir()
    secret.write_text("x")
    (folder / "lock").symlink_to(secret)
    ledger = GpuLeases(folder)
    assert await others(ledger) == []
    assert secret.read_text() == "x"
    ledger.close()


class Host:
    """GPUs whose memory a hostile neighbour takes and gives back as it likes, within what isn't promised."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self.total = 80 * GIB
        self.foreign = Counter({f"GPU-{index}": 0 for index in range(4)})
        self.used: Counter[str] = Counter()  # by our workers

    def probe(self) -> list[Gpu]:
        return [
            Gpu(index, uuid, "any", self.total, self.total - self.foreign[uuid] - self.used[uuid], 4)
            for index, uuid in enumerate(self.foreign)
        ]

    def stir(self, promised: Counter[str]) -> None:
        for uuid in self.foreign:
            self.foreign[uuid] = self.dice.randrange(0, max(1, self.total - max(promised[uuid], self.used[uuid])))


async def test_zero_overcommits_in_a_thousand_starts_beside_a_hostile_neighbour(tmp_path: Path):
    dice = random.Random(5)
    host, servers = Host(dice), [GpuLeases(tmp_path) for _ in range(4)]
    refused = granted = 0
    for number in range(1000):
        mine = dice.choice(servers)
        promised = Counter[str]()
        for each in servers:
            for lease in each.leases:
                promised[lease.uuid] += lease.need
        host.stir(promised)
        need = dice.randrange(GIB, 30 * GIB)
        async with mine.exclusive() as theirs:
            gpus = host.probe()
            try:
                gpu = place(gpus, [*theirs, *mine.leases], Claim("m", need, need), GIB)
            except NoRoom:
                refused += 1
            else:
                assert gpu is not None
                assert room(gpu, [*theirs, *mine.leases], GIB) >= need
                held = dice.randrange(0, need + 1)
                host.used[gpu.uuid] += held  # it has loaded, and may yet grow to its need
                mine.leases.append(Lease(gpu.uuid, f"W-{number}", "m", need, held, loading=False))
                granted += 1
                mine.write()
        for each in host.probe():
            everything = [lease for ledger in servers for lease in ledger.leases if lease.uuid == each.uuid]
            assert sum(lease.need for lease in everything) + host.foreign[each.uuid] <= host.total
        if dice.random() < 0.4:
            leaving = dice.choice(servers)
            for lease in leaving.leases:
                host.used[lease.uuid] -= lease.held
            leaving.leases.clear()
            leaving.write()
    for each in servers:
        each.close()
    assert refused > 20
    assert granted > 100


async def test_what_is_put_down_is_plain_json_that_names_the_owner(tmp_path: Path):
    ledger = GpuLeases(tmp_path)
    await others(ledger)
    ledger.leases = [Lease("GPU-0", "W-9000-m_1.0", "m", 7, 3)]
    ledger.write()
    put = json.loads(next(tmp_path.glob("*.leases")).read_text())
    assert put["pid"] == os.getpid()
    assert put["leases"] == [
        {"uuid": "GPU-0", "worker": "W-9000-m_1.0", "model": "m", "need": 7, "held": 3, "loading": True}
    ]
    ledger.close()


@pytest.mark.parametrize("name", ["9-x.leases", "9-x.alive", "lock"])
async def test_a_fifo_of_another_user_hangs_nobody(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture):
    folder = tmp_path / "leases"
    folder.mkdir()
    (folder / "9-x.leases").write_text("{}")
    (folder / name).unlink(missing_ok=True)
    os.mkfifo(folder / name)
    held = os.open(folder / name, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.flock(held, fcntl.LOCK_EX)
    ledger = GpuLeases(folder)
    assert await others(ledger) == []
    ledger.leases = [Lease("GPU-0", "W-9000", "m", 7)]
    ledger.write()
    ledger.close()
    os.close(held)
    assert (name == "9-x.leases") or "no regular file" in caplog.text


async def test_leases_are_not_written_through_a_link(tmp_path: Path):
    """Its name is known to all as soon as the server is there."""
    folder = tmp_path / "leases"
    ledger = GpuLeases(folder)
    await others(ledger)
    (stem,) = [path.stem for path in folder.glob("*.alive")]
    (tmp_path / "victim").write_text("precious")
    for name in (f"{stem}.leases", f"{stem}.new"):
        (folder / name).symlink_to(tmp_path / "victim")
    ledger.write()
    assert (tmp_path / "victim").read_text() == "precious"
    ledger.close()
