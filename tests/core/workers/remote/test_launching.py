"""Launcher with an engine: what a worker demands of its node, and what is refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from torchserve.core.archive.packages import ModelPython
from torchserve.core.config.model_options import ModelOptions
from torchserve.core.config.parallel import Parallel
from torchserve.core.config.settings import Settings
from torchserve.core.errors import InvalidConfig
from torchserve.core.gpus.gpu_allocator import GpuAllocator
from torchserve.core.wire.messages import Load
from torchserve.core.workers.launcher import Launcher
from torchserve.core.workers.load_failed import LoadFailed
from torchserve.core.workers.observer import WorkerObserver
from torchserve.core.workers.remote.placer import Demand
from torchserve.core.workers.remote.remote_workers import remote_workers

from .site import Site

NAME = "W-9000-m_1.0"
WEIGHTS = 1000


def launcher(site: Site, python: ModelPython | None = None, **options: Any) -> Launcher:
    return Launcher(
        load=Load("m", "1.0", str(site.model_dir), "handler.py", 2),
        options=ModelOptions(**options),
        settings=Settings(),
        python=python or ModelPython(),
        gpu_allocator=GpuAllocator(0),
        scheduler=site.scheduler,
        observer=cast("WorkerObserver", site.observer),
        remote=site.workers,
    )


@pytest.mark.parametrize(
    ("options", "demand"),
    [
        ({}, Demand(None, 1.0, WEIGHTS)),
        ({"device_type": "cpu", "threads": 3}, Demand(0.0, 3.0, WEIGHTS)),
        ({"device_type": "gpu"}, Demand(1.0, 1.0, WEIGHTS)),
        ({"parallel": Parallel(kind="custom", level=4)}, Demand(4.0, 1.0, WEIGHTS)),
    ],
)
async def test_a_worker_demands_what_its_model_says(site: Site, options: dict[str, Any], demand: Demand) -> None:
    (site.model_dir / "model.pt").write_bytes(b"w" * WEIGHTS)
    worker, gpus = await launcher(site, **options).launch(NAME, 1)
    site.made.append(worker)
    assert (site.placer.demands, gpus) == ([demand], ())
    worker.open()
    assert bytes((await site.answer("x")).body).startswith(b"x by")


@pytest.mark.parametrize(
    ("python", "options", "text"),
    [
        (ModelPython("/venv/bin/python"), {}, "model m has packages of its own, which don't go to other hosts"),
        (ModelPython(path=("/site",)), {}, "model m has packages of its own, which don't go to other hosts"),
    ],
)
async def test_what_can_not_run_elsewhere_is_refused(
    site: Site, python: ModelPython | None, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(LoadFailed, match=text):
        await launcher(site, python, **options).launch(NAME, 1)
    assert not site.placer.demands


async def test_why_a_worker_waits_can_be_asked(site: Site) -> None:
    site.placer.room.clear()
    made = launcher(site)
    site.workers.waiting[NAME] = "no node has room"
    assert (made.waits(NAME), made.waits("another")) == ("no node has room", "")


def test_an_engine_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert remote_workers(Settings()) is None
    monkeypatch.setattr("torchserve.core.workers.remote.remote_workers.find_spec", lambda _: None)
    with pytest.raises(InvalidConfig, match=r"engine=ray needs the package ray: pip install 'torchserve\[ray\]'"):
        remote_workers(Settings(engine="ray=10.0.0.1:6379"))
