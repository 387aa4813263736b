"""SnapshotWriter: one write at a time, the last state is always written, and a failure is a log line."""

from __future__ import annotations

import asyncio
import logging
import threading
from pathlib import Path

import pytest

from torchserve.core.config.saved_models import SavedModel, SavedModels
from torchserve.core.models.snapshot import Kind, Snapshot
from torchserve.core.models.snapshot_folder import SnapshotFolder
from torchserve.core.models.snapshot_writer import SnapshotWriter


class Gated(SnapshotFolder):
    """A folder whose disk takes its time: each write waits for the gate."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.gate = threading.Semaphore(0)
        self.writing = 0
        self.written: list[tuple[Kind, int]] = []

    def write(self, snapshot: Snapshot, kind: Kind, now: int) -> Path:
        self.writing += 1
        assert self.writing == 1
        assert self.gate.acquire(timeout=30)
        self.writing -= 1
        path = super().write(snapshot, kind, now)
        self.written.append((kind, len(snapshot.models)))
        return path


class House:
    def __init__(self, path: Path) -> None:
        self.folder = Gated(path)
        self.count = 0
        self.writer = SnapshotWriter(self.folder, self.state)

    def state(self) -> Snapshot:
        models = [SavedModel(name="m", version=str(n), archive="m.mar") for n in range(self.count)]
        return Snapshot({}, SavedModels(models))

    def change(self, kind: Kind = "snapshot") -> asyncio.Task[None]:
        self.count += 1
        return asyncio.create_task(self.writer.save(kind))

    async def begun(self) -> None:
        async with asyncio.timeout(30):
            while not self.folder.writing:
                await asyncio.sleep(0.001)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "config")


async def test_changes_during_a_write_share_the_next_one(house: House) -> None:
    first = house.change()
    await house.begun()
    others = [house.change() for _ in range(50)]
    await asyncio.sleep(0)
    house.folder.gate.release()
    await first
    assert not any(other.done() for other in others), "the first write does not hold what they changed"
    house.folder.gate.release()
    await asyncio.gather(*others)
    assert house.folder.written == [("snapshot", 1), ("snapshot", 51)]


async def test_a_caller_that_gives_up_leaves_the_write_alone(house: House) -> None:
    gone = house.change()
    await house.begun()
    gone.cancel()
    last = house.change("shutdown")
    await asyncio.sleep(0)
    house.folder.gate.release(2)
    await last
    assert gone.cancelled()
    assert house.folder.written == [("snapshot", 1), ("shutdown", 2)]


async def test_failures_are_logged_and_their_end_is(house: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    house.folder.gate.release(4)
    house.folder.path.write_text("a file, where a folder belongs")
    await house.change()
    await house.change()
    house.folder.path.unlink()
    house.folder.writing = 0
    await house.change()
    await house.change()
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO"]
    assert house.folder.written == [("snapshot", 3), ("snapshot", 4)]
