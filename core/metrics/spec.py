"""MetricsSpec: the metrics that a metrics configuration (TorchServe's metrics.yaml) declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bounded_yaml import YAML_ERRORS, load_yaml
from ..errors import InvalidConfig

DEFAULT = Path(__file__).with_name("metrics.yaml")
_SECTIONS = ("ts_metrics", "model_metrics")
_KINDS = ("counter", "gauge", "histogram")


@dataclass(frozen=True, slots=True)
class Declared:
    """A declared metric. `kind` is counter, gauge or histogram; a model metric's `dimensions` leave out Hostname."""

    kind: str
    name: str
    unit: str
    dimensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MetricsSpec:
    """The server's own metrics, and those of models."""

    server: tuple[Declared, ...] = ()
    model: tuple[Declared, ...] = ()


def read_spec(path: Path = DEFAULT) -> MetricsSpec:
    """Read a metrics configuration. Raises InvalidConfig naming the file and the entry that is wrong."""
    try:
        found = load_yaml(path.read_bytes())
    except (OSError, *YAML_ERRORS) as error:
        raise InvalidConfig(f"{path} can't be read: {' '.join(str(error).split())}") from None
    try:
        top = _mapping(found, "the file")
        return MetricsSpec(*(tuple(_section(top, section)) for section in _SECTIONS))
    except ValueError as error:
        raise InvalidConfig(f"{path}: {error}") from None


def _section(top: Mapping[Any, Any], section: str) -> Iterator[Declared]:
    for kind, entries in _mapping(top.get(section), section).items():
        if kind not in _KINDS:
            raise ValueError(f"{section} has the kind {kind!r}; a metric is one of {', '.join(_KINDS)}")
        if not isinstance(entries, list | None):
            raise ValueError(f"{section}: {kind} must be a list")  # noqa: TRY004  (as below)
        for place, entry in enumerate(entries or (), 1):
            yield _declared(kind, entry, f"{section}: {kind}: entry {place}")


def _declared(kind: str, entry: object, where: str) -> Declared:
    fields = _mapping(entry, where)
    missing = [key for key in ("name", "unit", "dimensions") if key not in fields]
    if missing:
        raise ValueError(f"{where} has no {' and no '.join(missing)}")
    dimensions = fields["dimensions"]
    if not isinstance(dimensions, list | None) or not all(isinstance(name, str) for name in dimensions or ()):
        raise ValueError(f"{where}: dimensions must be a list of names")
    return Declared(kind, str(fields["name"]), str(fields["unit"]), tuple(dimensions or ()))


def _mapping(value: object, what: str) -> Mapping[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a mapping")  # noqa: TRY004  (all that is wrong with a file is a ValueError)
    return value
