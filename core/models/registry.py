"""Registry: all model versions by name, and the default version of each model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import (
    AlreadyRegistered,
    DefaultNotFound,
    DefaultVersionInUse,
    ModelNotFound,
    VersionInTraffic,
    VersionNotFound,
)
from .model import Model
from .traffic import Traffic


@dataclass(slots=True)
class _Versions:
    default: str
    by_version: dict[str, Model] = field(default_factory=dict[str, Model])


class Registry:
    """The model versions that are registered. Lookups raise ModelNotFound or VersionNotFound."""

    def __init__(self) -> None:
        self.traffic: dict[str, Traffic] = {}  # by model, of those whose traffic is steered
        self._models: dict[str, _Versions] = {}
        self._claims: set[tuple[str, str]] = set()
        self._by_alias: dict[str, Model] | None = None  # None: not known since the default versions have changed

    def get(self, name: str, version: str | None = None) -> Model:
        """Return the version asked for, or the default one."""
        versions = self._models.get(name)
        if versions is None:
            raise ModelNotFound(name)
        model = versions.by_version.get(versions.default if version is None else version)
        if model is None:
            raise VersionNotFound(name, str(version))
        return model

    def serving(self, name: str, version: str | None = None) -> Model:
        """Return the version that serves requests for `name`, which may be an alias of a default version."""
        if version is None:
            versions = self._models.get(name)
            if versions is not None:
                return versions.by_version[versions.default]
            model = self._aliased().get(name)
            if model is not None:
                return model
        return self.get(name, version)

    def steered(self, name: str, version: str | None) -> Model:
        """Return the version that traffic has chosen, or the default one if that is not there (any more)."""
        versions = self._models.get(name)
        if versions is None:
            raise ModelNotFound(name)
        return versions.by_version.get(version or versions.default) or versions.by_version[versions.default]

    def aliases(self) -> dict[str, str]:
        """Return the name of the model that serves under each alias; names of models are none."""
        return {alias: model.name for alias, model in self._aliased().items() if alias not in self._models}

    def _aliased(self) -> dict[str, Model]:
        """Return the first default version, by name, that has each alias: no request looks through all models."""
        found = self._by_alias
        if found is None:
            found = self._by_alias = {}
            for model in self.defaults():
                for alias in model.aliases:
                    found.setdefault(alias, model)
        return found

    def versions(self, name: str) -> list[Model]:
        """Return all versions, in the order of their registration."""
        if name not in self._models:
            raise ModelNotFound(name)
        return list(self._models[name].by_version.values())

    def lacking(self, queue_limit: int) -> list[str]:
        """Return a sentence for each model of the start that has too few workers, and for each model whose job queue is
        full to `queue_limit` percent; 0 leaves queues out.
        """
        lacking = [model.lacking for model in self if model.at_startup and model.lacking]
        return lacking + [text for model in self if queue_limit and (text := model.crowded(queue_limit))]

    def defaults(self) -> list[Model]:
        """Return the default version of every model, by name."""
        return [self._models[name].by_version[self._models[name].default] for name in sorted(self._models)]

    def __iter__(self) -> Iterator[Model]:
        for versions in list(self._models.values()):
            yield from list(versions.by_version.values())

    def claim(self, name: str, version: str) -> None:
        """Reserve a name and version while the model is prepared. Raises AlreadyRegistered."""
        versions = self._models.get(name)
        if (name, version) in self._claims or (versions is not None and version in versions.by_version):
            raise AlreadyRegistered(name, version)
        self._claims.add((name, version))

    def release(self, name: str, version: str) -> None:
        self._claims.discard((name, version))

    def add(self, model: Model) -> None:
        """Add a version that was claimed. The first version of a model is its default."""
        self._claims.discard((model.name, model.version))
        versions = self._models.setdefault(model.name, _Versions(model.version))
        versions.by_version[model.version] = model
        self._by_alias = None

    def set_default(self, name: str, version: str) -> None:
        """Make `version` the default. Raises ModelNotFound, DefaultNotFound."""
        versions = self._models.get(name)
        if versions is None:
            raise ModelNotFound(name)
        if version not in versions.by_version:
            raise DefaultNotFound(name, version)
        versions.default = version
        self._by_alias = None

    def remove(self, name: str, version: str | None) -> Model:
        """Remove a version, so that no new request finds it.

        Raises DefaultVersionInUse while there are others, VersionInTraffic while a share of the requests goes to it.
        """
        model = self.get(name, version)
        versions = self._models[name]
        if model.version == versions.default and len(versions.by_version) > 1:
            raise DefaultVersionInUse(name)
        traffic = self.traffic.get(name)
        if traffic is not None and len(versions.by_version) > 1 and (share := traffic.weights.get(model.version)):
            raise VersionInTraffic(name, model.version, share)
        self.discard(model)
        return model

    def discard(self, model: Model) -> None:
        """Remove this very model, if it is still there. If it was the default, another version becomes that."""
        versions = self._models.get(model.name)
        if versions is None or versions.by_version.get(model.version) is not model:
            return
        del versions.by_version[model.version]
        self._by_alias = None
        if not versions.by_version:
            del self._models[model.name]
            self.traffic.pop(model.name, None)
        elif versions.default == model.version:
            versions.default = next(iter(versions.by_version))
