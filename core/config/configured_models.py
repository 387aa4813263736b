"""ConfiguredModels: the key `models`, JSON with settings of model versions, however these come to be loaded."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..model_name import why_not
from .version_numbers import KEYS, VersionNumbers

# Keys that are accepted without effect, except for defaultVersion: archive and runtime are given by the load request.
_OTHERS = ("defaultVersion", "marName", "runtimeType", "parallelLevel")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredModel(VersionNumbers):
    """The settings of one version. `default`: it is the default among the versions loaded at start."""

    default: bool = False


@dataclass(frozen=True, slots=True)
class ConfiguredModels:
    """The settings by name and version. `remarks` are warnings about the text; str() returns that text."""

    text: str
    entries: Mapping[tuple[str, str], ConfiguredModel]
    remarks: tuple[str, ...] = ()

    def find(self, name: str, version: str) -> ConfiguredModel:
        return self.entries.get((name, version), ConfiguredModel())

    def __str__(self) -> str:
        return self.text

    @classmethod
    def parse(cls, text: str) -> ConfiguredModels:
        """Parse the JSON `text`. Raises ValueError naming model, version and key."""
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is no JSON: {error}") from None
        entries: dict[tuple[str, str], ConfiguredModel] = {}
        remarks: list[str] = []
        for name, versions in _object(document, "it").items():
            for version, entry in _object(versions, f"model {name}").items():
                for given in (name, version):
                    wrong = why_not(given)
                    if wrong:
                        remarks.append(f"{given!a} can't be the name or version of a model: {wrong}")
                label = f"model {name} version {version}"
                entries[name, version] = _read(_object(entry, label), label, remarks)
        return cls(text.strip(), entries, tuple(remarks))


def _read(entry: Mapping[str, Any], label: str, remarks: list[str]) -> ConfiguredModel:
    for key in entry:
        if key not in KEYS.values() and key not in _OTHERS:
            near = difflib.get_close_matches(key, [*KEYS.values(), *_OTHERS], n=1)
            remarks.append(f"{label}: unknown key {key} is ignored" + (f"; did you mean {near[0]}?" if near else ""))
    numbers = {field: _number(entry.get(key), f"{label}: {key}") for field, key in KEYS.items()}
    low, high = numbers["min_workers"], numbers["max_workers"]
    if low is not None and high is not None and high < low:
        remarks.append(f"{label}: maxWorkers={high} is less than minWorkers={low}, which counts for both")
    return ConfiguredModel(default=str(entry.get("defaultVersion")).lower() == "true", **numbers)


def _object(value: object, label: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{label} must be a JSON object, not {json.dumps(value)[:80]}")  # noqa: TRY004  (the text's)
    return value


def _number(value: object, label: str) -> int | None:
    """Return a whole number, also from a text or a float such as 2.0, as TorchServe does; None for 0 or less.

    Raises ValueError, naming `label`.
    """
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or not (abs(number) < 2**31 and number == int(number)):
        raise ValueError(f"{label} must be a whole number below 2^31, not {json.dumps(value)[:80]}")
    return int(number) if number > 0 else None
