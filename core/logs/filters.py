"""Filters of a log4j2 configuration: which lines of a logger an appender takes."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import TypeAlias
from xml.etree.ElementTree import Element

from .dates import Warn
from .line import Line

Accepts: TypeAlias = Callable[[Line], bool]
_Verdict: TypeAlias = Callable[[Line], "bool | None"]  # None: the next filter says

_RESULTS = {"ACCEPT": True, "DENY": False, "NEUTRAL": None}
_LOWEST, _HIGHEST = 0, logging.CRITICAL + 10

Get: TypeAlias = Callable[[Element, str], str]
Level: TypeAlias = Callable[[str], "int | None"]


def tag(node: Element) -> str:
    """Return the kind of a component in lower case: its tag, or its type in `<Appender type="File">`."""
    name = node.tag.rpartition("}")[2].lower()
    if name in {"appender", "filter", "layout"}:
        return next((value.lower() for key, value in node.attrib.items() if key.lower() == "type"), name)
    return name


def is_filter(node: Element) -> bool:
    return tag(node).endswith(("filter", "filters"))


def read_filters(node: Element, get: Get, level: Level, warn: Warn) -> Accepts | None:
    """Return what accepts lines by the filters within `node`, None if there is none. `warn` is told of unknown ones."""
    verdicts: list[_Verdict] = []
    for child in node:
        if tag(child) == "filters":
            inner = read_filters(child, get, level, warn)
            verdicts += [_only_denies(inner)] if inner is not None else []
        elif is_filter(child):
            test = _test(child, get, level, warn)
            if test is None:
                warn(f"the filter {child.tag} is not known here and is left out")
            else:
                match, mismatch = _result(child, get, "onmatch", None), _result(child, get, "onmismatch", False)
                verdicts.append(lambda line, test=test, yes=match, no=mismatch: yes if test(line) else no)
    if not verdicts:
        return None

    def accepts(line: Line) -> bool:
        return next((said for said in (verdict(line) for verdict in verdicts) if said is not None), True)

    return accepts


def _only_denies(accepts: Accepts) -> _Verdict:
    return lambda line: None if accepts(line) else False


def _result(node: Element, get: Get, name: str, default: bool | None) -> bool | None:
    return _RESULTS.get(get(node, name).upper(), default)


def _test(node: Element, get: Get, level: Level, warn: Warn) -> Accepts | None:
    """Return what a filter matches, None for a filter that is not known."""

    def limit(name: str, default: int) -> int:
        text = get(node, name)
        found = level(text) if text else default
        return default if found is None else found

    kind = tag(node)
    if kind == "thresholdfilter":
        least = limit("level", logging.ERROR)
        return lambda line: line.level >= least
    if kind == "levelrangefilter":  # log4j's minLevel is the gravest one
        gravest, least = limit("minlevel", _HIGHEST), limit("maxlevel", _LOWEST)
        return lambda line: least <= line.level <= gravest
    if kind == "levelmatchfilter":
        wanted = limit("level", logging.ERROR)
        return lambda line: line.level == wanted
    if kind == "denyallfilter":
        return lambda _: False
    if kind == "stringmatchfilter":
        text = get(node, "text")
        return lambda line: text in line.message
    if kind == "regexfilter":
        try:
            pattern = re.compile(get(node, "regex"))
        except re.error as error:
            warn(f"the regular expression of {node.tag} is not known here: {error}")
            return None
        return lambda line: pattern.fullmatch(line.message) is not None
    if kind == "burstfilter":
        return _Burst(_number(get(node, "rate"), 10.0), _number(get(node, "maxburst"), 0.0), limit("level", 30))
    return None


class _Burst:
    """A filter that lets `rate` lines a second pass on average, and all lines above `level`."""

    def __init__(self, rate: float, most: float, level: int) -> None:
        self._rate = rate
        self._most = most or rate * 10
        self._level = level
        self._left = self._most
        self._at: float | None = None

    def __call__(self, line: Line) -> bool:
        if line.level > self._level:
            return True
        passed = 0.0 if self._at is None else max(0.0, line.at - self._at)
        self._at = line.at
        self._left = min(self._most, self._left + passed * self._rate)
        if self._left < 1:
            return False
        self._left -= 1
        return True


def _number(text: str, default: float) -> float:
    try:
        return float(text)
    except ValueError:
        return default
