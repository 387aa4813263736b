"""House: a control plane with everything real behind it, for tests; and archives to register with it."""

from __future__ import annotations

import asyncio
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from torchserve.core.controlplane import ControlPlane, Outcome
from torchserve.core.gpus.gpu_allocator import GpuAllocator
from torchserve.core.metrics.store import MetricStore
from torchserve.core.models.registry import Registry
from torchserve.core.registration import RegisterRequest

from .doubles import CPU_ONLY, folder


class House:
    """A control plane with everything real behind it."""

    def __init__(self, home: Path, gpu_allocator: GpuAllocator | None = None, **settings: Any) -> None:
        self.store, self.work = home / "store", home / "work"
        self.registry, self.metrics, self.gpus = Registry(), MetricStore(), gpu_allocator or GpuAllocator(0)
        self.plane = ControlPlane(
            replace(CPU_ONLY, model_store=self.store, **settings), self.registry, self.metrics, self.gpus, self.work
        )

    async def register(self, url: str = "m", **request: Any) -> Outcome:
        return await self.plane.register(RegisterRequest(url=url, **request))

    async def settle(self) -> None:
        """Wait for the work that goes on behind the answers."""
        await asyncio.gather(*self.plane._background)

    @property
    def names(self) -> list[str]:
        return [f"{model.name}/{model.version}" for model in self.registry]


def packed(store: Path, name: str, **manifest: Any) -> None:
    """The same as a .mar file."""
    source = folder(store, f"{name}-source", modelName=name, **manifest)
    with zipfile.ZipFile(store / f"{name}.mar", "w") as archive:
        for path in ("MAR-INF/MANIFEST.json", "handler.py"):
            archive.write(source / path, path)
