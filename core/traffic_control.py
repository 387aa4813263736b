"""TrafficControl: sets, shows and saves how the requests that name no version are shared among a model's versions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from .errors import BadRequest, ServeError, VersionNotFound
from .metrics.store import MetricStore
from .models.registry import Registry
from .models.traffic import OUTCOMES, Traffic
from .models.traffic_plan import TrafficPlan

log = logging.getLogger(__name__)

_WEIGHT = "torchserve_traffic_ratio"
_COPIES = "torchserve_shadow_requests_total"


class TrafficControl:
    """The management of traffic. `stepped` is called after each step that a rollout took by itself."""

    def __init__(self, registry: Registry, metrics: MetricStore, stepped: Callable[[], None]) -> None:
        self._registry = registry
        self._metrics = metrics
        self._stepped = stepped
        self._shown: dict[str, list[tuple[str, tuple[str, ...]]]] = {}  # the series of each model

    def set(self, name: str, given: Mapping[str, str]) -> str:
        """Share the traffic of a model as `given` says, from the next request on. Return what was done.

        Raises ModelNotFound, VersionNotFound, BadRequest; then nothing has changed.
        """
        self._apply(name, TrafficPlan.read(given, self._registry.get(name).version))
        return f'Traffic of model "{name}" successfully updated'

    def clear(self, name: str) -> str:
        """Have the default version answer all requests again. Raises ModelNotFound."""
        self._registry.get(name)
        self._registry.traffic.pop(name, None)
        self._hide(name)
        return f'Model "{name}" is answered by its default version'

    def describe(self, name: str) -> dict[str, Any]:
        """Return how a model's traffic is shared; a model that isn't steered has no weights. Raises ModelNotFound."""
        default = self._registry.get(name).version
        traffic = self._registry.traffic.get(name)
        found = {"modelName": name, "defaultVersion": default}
        return found | (traffic.described() if traffic is not None else {"weights": {}})

    def of_version(self, name: str) -> dict[str, Any]:
        """Return what describing a version shows of its model's traffic: nothing if that isn't steered."""
        traffic = self._registry.traffic.get(name)
        return {} if traffic is None else {"traffic": traffic.described()}

    def saved(self, name: str) -> dict[str, Any] | None:
        """Return what a snapshot keeps of a model's traffic, None if it isn't steered."""
        traffic = self._registry.traffic.get(name)
        return None if traffic is None else traffic.saved()

    def restore(self, name: str, saved: Mapping[str, Any]) -> None:
        """Share the traffic as a snapshot says. What can't be followed is logged, and the default version serves."""
        try:
            self._apply(name, TrafficPlan.from_json(saved, self._registry.get(name).version))
        except ServeError as error:
            log.warning("The model_snapshot's traffic of model %s is not followed: %s", name, error)

    def _apply(self, name: str, plan: TrafficPlan) -> None:
        there = {model.version: model for model in self._registry.versions(name)}
        named = [*plan.weights, *([plan.shadow.version] if plan.shadow else [])]
        for version in named:
            if version not in there:
                raise VersionNotFound(name, version)
            if there[version].options.stateful is not None:
                raise BadRequest(
                    f"Version {version} of model {name} is stateful: the requests of a sequence must reach the worker"
                    " that began it, so that its traffic can't be shared. Name the version in the requests."
                )
        traffic = Traffic(name, plan, monotonic(), self._changed)
        self._registry.traffic[name] = traffic
        self._show(name, traffic)

    def _changed(self, text: str) -> None:
        log.warning("%s", text)
        self._stepped()

    def _show(self, name: str, traffic: Traffic) -> None:
        """Show the metrics of this traffic, in place of those of the one before."""
        self._hide(name)
        shown = self._shown[name] = []
        for version in traffic.weights:
            self._read(shown, _WEIGHT, (name, version), lambda version=version: traffic.weights[version] / 100)
        if traffic.plan.shadow is not None:
            for outcome in OUTCOMES:
                values = (name, traffic.plan.shadow.version, outcome)
                self._read(shown, _COPIES, values, lambda outcome=outcome: traffic.outcomes[outcome])

    def _read(
        self, shown: list[tuple[str, tuple[str, ...]]], metric: str, values: tuple[str, ...], read: Callable[[], float]
    ) -> None:
        self._metrics.read(metric, values, read)
        shown.append((metric, values))

    def forget(self, name: str) -> None:
        """Show nothing more of a model without versions."""
        if name not in self._registry.traffic:
            self._hide(name)

    def _hide(self, name: str) -> None:
        for metric, values in self._shown.pop(name, ()):
            self._metrics.own(metric).forget(*values)
