"""load_yaml(): parses YAML from anybody, with safe tags only and a bound on every cost.

Aliases are measured as if written out in full before anything is built, so that a small file can't become a large
object. Numbers have at most 64 bits: PyYAML reads base 60 ("1:30:00") in quadratic time, also in a quoted value with
the tag `!!int`; and the hash of an integer is its remainder by 2^61 - 1, so that keys of any size could all collide (1
MB of such keys took 9.8 s, and is refused after 0.4 s).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import yaml

# The errors of YAML that can't be used: PyYAML's constructors raise more than YAMLError on bad scalars, as on
# "!!int ''", "!!bool maybe" and "!!timestamp x".
YAML_ERRORS = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)

_INTEGER = 100  # characters: 64 bits in binary, with underscores
_FLOAT = 400
_BASE_60 = 12  # parts: more than 64 bits


class YamlRefused(ValueError):
    """A YAML text that costs more than its limits allow."""


@dataclass(frozen=True, slots=True)
class YamlLimits:
    """The limits of a YAML text: its `size` in bytes, `expanded` in characters with each alias written out, and
    `plain`, the characters of one unquoted value.
    """

    size: int = 1 << 20
    depth: int = 50
    expanded: int = 4 << 20
    plain: int = 16 << 10


_LIMITS = YamlLimits()


def load_yaml(data: bytes, limits: YamlLimits = _LIMITS) -> Any:
    """Return the value of the one document in `data`, None for an empty one. Raises YAML_ERRORS."""
    if len(data) > limits.size:
        raise YamlRefused(f"the YAML is larger than {limits.size} bytes")
    _measure(data, limits)
    return yaml.load(data, Loader=_Loader)  # noqa: S506  (it is a safe one)


class _Loader(yaml.CSafeLoader):
    """The safe loader, whose numbers take linear time."""

    def construct_integer(self, node: yaml.ScalarNode) -> int:
        _bound(node, _INTEGER)
        value = self.construct_yaml_int(node)
        if not -(1 << 63) <= value < 1 << 64:
            raise YamlRefused("an integer of more than 64 bits")
        return value

    def construct_float(self, node: yaml.ScalarNode) -> float:
        _bound(node, _FLOAT)
        return self.construct_yaml_float(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_float)


def _bound(node: yaml.ScalarNode, longest: int) -> None:
    text = cast("str", node.value)
    if len(text) > longest or text.count(":") >= _BASE_60:
        raise YamlRefused(f"a number of {len(text)} characters")


def _measure(data: bytes, limits: YamlLimits) -> None:
    open_nodes: list[tuple[str | None, int]] = []
    anchors: dict[str, int] = {}
    total = 0
    for event in cast("Iterator[yaml.Event]", yaml.parse(data, Loader=yaml.CSafeLoader)):
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, total))
            if len(open_nodes) > limits.depth:
                raise YamlRefused(f"the YAML is nested more than {limits.depth} deep")
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                anchors[anchor] = total - before
        elif isinstance(event, yaml.ScalarEvent):
            text = cast("str", event.value)
            # Only plain scalars are bounded: they are matched against the patterns of numbers and dates.
            if not event.style and len(text) > limits.plain:
                raise YamlRefused(f"an unquoted YAML value is longer than {limits.plain} characters")
            total += 1 + len(text)
            if event.anchor:
                anchors[event.anchor] = 1 + len(text)
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise YamlRefused(f"the YAML alias *{event.anchor} is undefined or holds itself")
            total += anchors[event.anchor]
        if total > limits.expanded:
            raise YamlRefused(f"the YAML is larger than {limits.expanded} characters with its aliases expanded")
