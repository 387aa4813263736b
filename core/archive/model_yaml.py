"""Parses model-config.yaml, which may hold anything its author wrote."""

from __future__ import annotations

from typing import cast

from ..bounded_yaml import YAML_ERRORS, YamlLimits, YamlRefused, load_yaml
from ..errors import InvalidArchive
from .limits import Limits


def parse_mapping(data: bytes, limits: Limits | None = None) -> dict[str, object]:
    """Return the mapping that a YAML file holds, {} for an empty file. Raises InvalidArchive with the cause."""
    limits = limits or Limits()
    bounds = YamlLimits(limits.yaml_bytes, limits.yaml_depth, limits.yaml_expanded, limits.yaml_plain_scalar)
    try:
        document = cast("object", load_yaml(data, bounds))
    except YamlRefused as error:
        raise InvalidArchive(str(error)) from None
    except YAML_ERRORS as error:
        raise InvalidArchive(f"not usable YAML: {' '.join(str(error).split())}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidArchive(f"the YAML is a {type(document).__name__}, not a mapping")
    return cast("dict[str, object]", document)
