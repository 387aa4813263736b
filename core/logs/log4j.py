"""interpret(): turns a log4j2 configuration, a tree of elements, into a LogPlan. Its warnings name what is unknown."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

from .layout import PLAIN_PATTERN, TS_PATTERN, Layout, json_layout, pattern_layout
from .plan import ROOT, Appender, LogPlan, Route
from .rotation import Rotation

LEVELS = {
    "ALL": logging.DEBUG, "TRACE": logging.DEBUG, "DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING,
    "ERROR": logging.ERROR, "FATAL": logging.CRITICAL, "OFF": logging.CRITICAL + 10,
}  # fmt: skip
_OURS = {"org.pytorch.serve": "torchserve", "org.pytorch": "torchserve", "root": ROOT}
_JVM = ("io.", "org.", "com.", "java", "sun.", "net.")  # loggers of Java libraries
_FILES = frozenset({"file", "randomaccessfile", "rollingfile", "rollingrandomaccessfile"})
_JSON = frozenset({"jsonlayout", "jsontemplatelayout", "jsonpatternlayout"})
_LOGGERS = frozenset({"logger", "asynclogger", "root", "asyncroot"})
_LOOKUP = re.compile(r"\$?\$\{(?:(?P<kind>\w+):)?(?P<name>[^}:]+)(?::-(?P<default>[^}]*))?\}")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]?)B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def interpret(root: Element, environment: Mapping[str, str] = os.environ) -> LogPlan:
    """Return the plan of a configuration. Raises ValueError for a level, size or pattern that can't be read."""
    return _Reading(root, environment).plan()


class _Reading:
    def __init__(self, root: Element, environment: Mapping[str, str]) -> None:
        self._root = root
        self._environment = environment
        self._warnings: dict[str, None] = {}
        self._properties: dict[str, str] = {}
        for node in _find(root, "property"):
            self._properties[self._get(node, "name")] = self._get(node, "value") or self._fill(
                (node.text or "").strip()
            )

    def plan(self) -> LogPlan:
        appenders: dict[str, tuple[Appender, ...]] = {}
        for section in _find(self._root, "appenders"):
            for node in section:
                appenders[self._get(node, "name")] = self._appenders(node, appenders)
        loggers = [node for section in _find(self._root, "loggers") for node in section]
        roots = [node for node in loggers if _tag(node) in {"root", "asyncroot"}]
        base = self._route(roots[0], appenders, Route(logging.ERROR, ())) if roots else Route(logging.ERROR, ())
        routes = {ROOT: base}
        for node in loggers:
            name = self._logger(node)
            if name:
                routes[name] = self._route(node, appenders, base)
        return LogPlan(routes, tuple(self._warnings))

    # ---- appenders

    def _appenders(self, node: Element, known: Mapping[str, tuple[Appender, ...]]) -> tuple[Appender, ...]:
        kind = _tag(node)
        if kind == "async":
            return self._referred(node, known)
        if kind == "console":
            self._leave_out(node, {"layout"})
            return (Appender(self._layout(node)),)
        if kind in _FILES:
            path = self._get(node, "filename")
            if not path:
                raise ValueError(f"the appender {self._get(node, 'name')!r} has no fileName")
            return (Appender(self._layout(node), Path(path).absolute(), self._rotation(node, path)),)
        self._warn(f"appender {self._get(node, 'name')!r}: {node.tag} is not known here and is left out")
        return ()

    def _layout(self, node: Element) -> Layout:
        for child in node:
            kind = _tag(child)
            if kind == "patternlayout":
                inner = next((self._fill((each.text or "").strip()) for each in _find(child, "pattern")), "")
                return pattern_layout(self._get(child, "pattern") or inner or "%m%n")
            if kind in _JSON:
                return json_layout
            if kind.endswith("layout"):
                self._warn(f"layout {child.tag} is not known here; TorchServe's own pattern is used")
                return pattern_layout(TS_PATTERN)
        return pattern_layout(PLAIN_PATTERN)

    def _rotation(self, node: Element, path: str) -> Rotation | None:
        self._leave_out(node, {"layout", "policies", "policy", "strategy"})
        policies = [child for child in node.iter() if _tag(child).endswith("policy")]
        if not policies:
            return None
        size: int | None = None
        daily = False
        for policy in policies:
            if _tag(policy) == "sizebasedtriggeringpolicy":
                size = _bytes(self._get(policy, "size") or "10 MB")
            elif _tag(policy) == "timebasedtriggeringpolicy":
                daily = True  # whatever the interval
            else:
                self._warn(f"{policy.tag} is not known here: files are put aside by size and by day")
        keep = next((self._get(each, "max") for each in _find(node, "defaultrolloverstrategy")), "") or "7"
        pattern = self._get(node, "filepattern") or f"{path}.%i"
        return Rotation(str(Path(pattern).absolute()), size, daily, int(keep))

    # ---- loggers

    def _route(self, node: Element, appenders: Mapping[str, tuple[Appender, ...]], base: Route) -> Route:
        text = self._get(node, "level")
        level = LEVELS.get(text.upper()) if text else base.level
        if level is None:
            raise ValueError(f"{text!r} is no log4j2 level")
        own = self._referred(node, appenders)
        inherited = () if self._get(node, "additivity").lower() == "false" else base.appenders
        return Route(level, tuple(dict.fromkeys((*own, *inherited))))

    def _referred(self, node: Element, appenders: Mapping[str, tuple[Appender, ...]]) -> tuple[Appender, ...]:
        found: list[Appender] = []
        for child in node:
            name = self._get(child, "ref")
            if _tag(child) == "appenderref" and name not in appenders:
                self._warn(f"there is no appender {name!r}")
            found += appenders.get(name, ())
        return tuple(found)

    def _logger(self, node: Element) -> str:
        name = self._get(node, "name")
        if _tag(node) not in _LOGGERS or name in {"", "root"}:
            return ROOT
        if name in _OURS:
            return _OURS[name]
        if name.startswith("org.pytorch.serve."):
            self._warn(f"logger {name!r}: the server is one logger here, org.pytorch.serve")
            return ROOT
        return ROOT if name.startswith(_JVM) else name

    # ---- text

    def _get(self, node: Element, name: str) -> str:
        value = next((value for key, value in node.attrib.items() if key.lower() == name), "")
        return self._fill(value.strip())

    def _fill(self, text: str) -> str:
        return _LOOKUP.sub(self._look_up, text)

    def _look_up(self, found: re.Match[str]) -> str:
        kind, name = found["kind"], found["name"]
        value = self._environment.get(name) if kind == "env" else None if kind else self._properties.get(name)
        if value is None:
            value = found["default"]
        if value is None:
            self._warn(f"{found[0]} has no value here")
            return ""
        return value

    def _leave_out(self, node: Element, known: set[str]) -> None:
        for child in node:
            if not _tag(child).endswith(tuple(known)):
                self._warn(f"appender {self._get(node, 'name')!r}: {child.tag} is not known here and is left out")

    def _warn(self, message: str) -> None:
        self._warnings[message] = None


def _tag(node: Element) -> str:
    return node.tag.rpartition("}")[2].lower()


def _find(node: Element, tag: str) -> Iterator[Element]:
    return (child for child in node.iter() if _tag(child) == tag)


def _bytes(text: str) -> int:
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size")
    return int(float(found[1]) * _UNITS[found[2].upper()])
