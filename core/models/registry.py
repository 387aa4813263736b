"""Registry: all model versions by name, and which version of each is the default."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import AlreadyRegistered, DefaultNotFound, DefaultVersionInUse, ModelNotFound, VersionNotFound
from .model import Model


@dataclass(slots=True)
class _Versions:
    default: str
    by_version: dict[str, Model] = field(default_factory=dict[str, Model])


class Registry:
    """Lookups raise ModelNotFound or VersionNotFound."""

    def __init__(self) -> None:
        self._models: dict[str, _Versions] = {}
        self._claims: set[tuple[str, str]] = set()

    def get(self, name: str, version: str | None = None) -> Model:
        """The version asked for, or the default one."""
        versions = self._models.get(name)
        if versions is None:
            raise ModelNotFound(name)
        model = versions.by_version.get(versions.default if version is None else version)
        if model is None:
            raise VersionNotFound(name, str(version))
        return model

    def versions(self, name: str) -> list[Model]:
        """All versions, the oldest registration first."""
        if name not in self._models:
            raise ModelNotFound(name)
        return list(self._models[name].by_version.values())

    def defaults(self) -> list[Model]:
        """The default version of every model, by name."""
        return [self._models[name].by_version[self._models[name].default] for name in sorted(self._models)]

    def __iter__(self) -> Iterator[Model]:
        for versions in list(self._models.values()):
            yield from list(versions.by_version.values())

    def claim(self, name: str, version: str) -> None:
        """Reserve a name and version while it is being prepared. Raises AlreadyRegistered."""
        versions = self._models.get(name)
        if (name, version) in self._claims or (versions is not None and version in versions.by_version):
            raise AlreadyRegistered(name, version)
        self._claims.add((name, version))

    def release(self, name: str, version: str) -> None:
        self._claims.discard((name, version))

    def add(self, model: Model) -> None:
        """Make a claimed version known; the first version of a model is its default."""
        self._claims.discard((model.name, model.version))
        versions = self._models.setdefault(model.name, _Versions(model.version))
        versions.by_version[model.version] = model

    def set_default(self, name: str, version: str) -> None:
        """Raises ModelNotFound, DefaultNotFound."""
        versions = self._models.get(name)
        if versions is None:
            raise ModelNotFound(name)
        if version not in versions.by_version:
            raise DefaultNotFound(name, version)
        versions.default = version

    def remove(self, name: str, version: str | None) -> Model:
        """Forget a version, so that no new request finds it. Raises DefaultVersionInUse while others exist."""
        model = self.get(name, version)
        versions = self._models[name]
        if model.version == versions.default and len(versions.by_version) > 1:
            raise DefaultVersionInUse(name)
        self.discard(model)
        return model

    def discard(self, model: Model) -> None:
        """Forget this very model, if it is still known; another version becomes the default where it was that."""
        versions = self._models.get(model.name)
        if versions is None or versions.by_version.get(model.version) is not model:
            return
        del versions.by_version[model.version]
        if not versions.by_version:
            del self._models[model.name]
        elif versions.default == model.version:
            versions.default = next(iter(versions.by_version))
