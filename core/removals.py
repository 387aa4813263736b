"""Removals: takes registered models away, with their workers and files, each once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator

from .metrics.store import MetricStore
from .models.model import Model
from .models.registry import Registry
from .traffic_control import TrafficControl


class Removals:
    """The removals that are under way. Iterating yields the models that are being removed."""

    def __init__(
        self,
        registry: Registry,
        metrics: MetricStore,
        traffic: TrafficControl,
        release: Callable[[Model], Awaitable[None]],
    ) -> None:
        """`release` gives up the downloaded archive of a model that is gone."""
        self._registry = registry
        self._metrics = metrics
        self._traffic = traffic
        self._release = release
        self._leaving: dict[Model, asyncio.Task[None]] = {}

    def __iter__(self) -> Iterator[Model]:
        return iter(list(self._leaving))

    def begin(self, model: Model, grace: float, *, keep_download: bool = False) -> asyncio.Task[None]:
        """Return the task that removes `model`, started now unless it is running already.

        What the model has accepted may take `grace` seconds.
        """
        removal = self._leaving.get(model)
        if removal is None:
            removal = asyncio.create_task(self._remove(model, grace, keep_download=keep_download))
            self._leaving[model] = removal
            removal.add_done_callback(lambda _: self._leaving.pop(model))
        return removal

    async def dispose(self, model: Model, grace: float, *, keep_download: bool = False) -> None:
        """Remove a model, and return when all of it is gone.

        A removal that is under way already is given at most `grace` seconds from now on. If this call is cancelled, the
        removal still goes on.
        """
        hasten = model in self._leaving
        removal = self.begin(model, grace, keep_download=keep_download)
        if hasten:
            await model.drain(grace)
        await asyncio.shield(removal)

    async def _remove(self, model: Model, grace: float, *, keep_download: bool) -> None:
        await model.drain(grace)
        self._registry.discard(model)
        self._metrics.forget(model.metrics)
        self._traffic.forget(model.name)
        await asyncio.to_thread(model.archive.remove)
        if not keep_download:
            await self._release(model)
