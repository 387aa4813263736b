"""Reading model-config.yaml, which is whatever the archive's author wrote: safe tags only, and a cap on every cost.

Aliases are measured written out in full before anything is built, so a small file can't become a large object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import yaml

from ..errors import InvalidArchive
from .limits import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator

# What PyYAML's own constructors let out on bad scalars ("!!int ''", "!!bool maybe", "!!timestamp x"), besides its own.
_WRONG = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


def parse_mapping(data: bytes, limits: Limits | None = None) -> dict[str, object]:
    """The mapping that a YAML file holds; {} for an empty file. Raises InvalidArchive with the cause."""
    limits = limits or Limits()
    if len(data) > limits.yaml_bytes:
        raise InvalidArchive(f"the YAML is larger than {limits.yaml_bytes} bytes")
    try:
        _measure(data, limits)
        document = cast("object", yaml.load(data, Loader=yaml.CSafeLoader))
    except _WRONG as error:
        raise InvalidArchive(f"not usable YAML: {' '.join(str(error).split())}") from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise InvalidArchive(f"the YAML is a {type(document).__name__}, not a mapping")
    return cast("dict[str, object]", document)


def _measure(data: bytes, limits: Limits) -> None:
    open_nodes: list[tuple[str | None, int]] = []
    anchors: dict[str, int] = {}
    total = 0
    for event in cast("Iterator[yaml.Event]", yaml.parse(data, Loader=yaml.CSafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            if len(open_nodes) > limits.yaml_depth:
                raise InvalidArchive(f"the YAML is nested more than {limits.yaml_depth} deep")
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                anchors[anchor] = total - before
        elif isinstance(event, yaml.ScalarEvent):
            text = cast("str", event.value)
            # Numbers are recognised among plain scalars only, and "1:1:1:…" costs the square of its length.
            if not event.style and len(text) > limits.yaml_plain_scalar:
                raise InvalidArchive(f"an unquoted YAML value is longer than {limits.yaml_plain_scalar} characters")
            total += 1 + len(text)
            if event.anchor:
                anchors[event.anchor] = 1 + len(text)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise InvalidArchive(f"the YAML alias *{event.anchor} is undefined or holds itself")
            total += anchors[event.anchor]
        if total > limits.yaml_expanded:
            raise InvalidArchive(f"the YAML is larger than {limits.yaml_expanded} characters with its aliases expanded")
