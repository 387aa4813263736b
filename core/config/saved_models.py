"""SavedModels: the models of a `model_snapshot`, which a start brings back; to and from its JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .version_numbers import KEYS, VersionNumbers

# Fields that must be above 0; a value that is too small is left to the archive.
_POSITIVE = frozenset({"batch_size", "response_timeout"})


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedModel(VersionNumbers):
    """A version in a snapshot. `archive` is the url to register it by; None leaves a value to the archive.

    `url`, `handler`, `downloaded` and `traffic` are additions to what TorchServe saves: the registration's url if the
    archive is no longer fetched from there, the handler if the registration chose one, whether the archive was
    downloaded into the model store, from which it is then removed with the model, and, in the default version's entry,
    how the requests that name no version are shared, if they are.
    """

    name: str
    version: str
    archive: str
    default: bool = False
    runtime: str | None = None
    url: str | None = None
    handler: str | None = None
    downloaded: bool = False
    traffic: Mapping[str, Any] | None = None


class SavedModels(tuple[SavedModel, ...]):
    """The versions in a snapshot; str() returns the JSON that `parse` reads."""

    __slots__ = ()

    def __str__(self) -> str:
        return json.dumps({"modelCount": len(self), "models": as_json(self)})

    @classmethod
    def parse(cls, text: str) -> SavedModels:
        """Parse the JSON `text`. Raises ValueError naming the model and what is wrong with it."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is no JSON: {error}") from None
        models = _mapping(_mapping(document, "it").get("models", {}), "its models")
        return cls(
            _read(name, str(version), entry)
            for name, versions in models.items()
            for version, entry in _mapping(versions, f"model {name}").items()
        )


def as_json(models: Iterable[SavedModel]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return {name: {version: entry}} with TorchServe's keys, in the order given."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for model in models:
        found.setdefault(model.name, {})[model.version] = _entry(model)
    return found


def _entry(model: SavedModel) -> dict[str, Any]:
    entry: dict[str, Any] = {"defaultVersion": model.default, "marName": model.archive}
    entry |= {key: getattr(model, field) for field, key in KEYS.items()}
    entry |= {"runtimeType": model.runtime, "url": model.url, "handler": model.handler}
    entry["downloaded"] = model.downloaded or None
    entry["traffic"] = model.traffic or None
    return {key: value for key, value in entry.items() if value is not None}


def _read(name: str, version: str, found: object) -> SavedModel:
    label = f"model {name} version {version}"
    entry = _mapping(found, label)
    archive = _text(entry, "marName", label)
    if not archive:
        raise ValueError(f"{label}: marName, the name of its archive, is missing")
    return SavedModel(
        name=name,
        version=version,
        archive=archive,
        default=entry.get("defaultVersion") is True,
        runtime=_text(entry, "runtimeType", label),
        url=_text(entry, "url", label),
        handler=_text(entry, "handler", label),
        downloaded=entry.get("downloaded") is True,
        traffic=_mapping(entry["traffic"], f"{label}: traffic") if entry.get("traffic") else None,
        **{field: _number(entry, key, int(field in _POSITIVE), label) for field, key in KEYS.items()},
    )


def _mapping(value: object, label: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{label} must be a JSON object, not {json.dumps(value)[:80]}")  # noqa: TRY004  (the text's)
    return value


def _text(entry: Mapping[str, Any], key: str, label: str) -> str | None:
    value = entry.get(key)
    if value is None or isinstance(value, str):
        return value or None
    raise ValueError(f"{label}: {key} must be a text, not {json.dumps(value)[:80]}")


def _number(entry: Mapping[str, Any], key: str, low: int, label: str) -> int | None:
    value = entry.get(key)
    if value is None:
        return None
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    if not (numeric and -(2**31) < value < 2**31 and value == int(value)):  # NaN fails the range
        raise ValueError(f"{label}: {key} must be a whole number below 2^31, not {json.dumps(value)[:80]}")
    return int(value) if value >= low else None
