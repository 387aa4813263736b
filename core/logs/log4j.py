"""interpret(): turns a log4j2 configuration, a tree of elements, into a LogPlan. Its warnings name what is unknown.

A logger inherits as in log4j: its level, where it has none, is that of the nearest ancestor by dots, at last the
root's, and its lines go to its own appenders and, unless `additivity` is false, to those of its ancestors. An
appender that is reached in two ways gets a line once. Nothing in a configuration that can be read refuses the start.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

from .filters import Accepts, is_filter, read_filters, tag
from .layout import Layout
from .line import Line
from .log4j_appenders import AppenderReading, find
from .lookups import Lookups
from .plan import ROOT, Appender, LogPlan, Route

LEVELS = {
    "ALL": logging.DEBUG, "TRACE": logging.DEBUG, "DEBUG": logging.DEBUG, "INFO": logging.INFO, "WARN": logging.WARNING,
    "ERROR": logging.ERROR, "FATAL": logging.CRITICAL, "OFF": logging.CRITICAL + 10,
}  # fmt: skip
_OURS = {
    "org": "torchserve", "org.pytorch": "torchserve", "org.pytorch.serve": "torchserve", "root": ROOT,
    "org.pytorch.serve.http": "torchserve.http", "org.pytorch.serve.wlm": "torchserve.core.workers",
    "org.pytorch.serve.archive": "torchserve.core.archive", "org.pytorch.serve.metrics": "torchserve.core.metrics",
}  # fmt: skip
_JVM = ("io.", "org.", "com.", "java", "sun.", "net.", "io", "com", "net")  # loggers of Java libraries
_LOGGERS = frozenset({"logger", "asynclogger", "root", "asyncroot"})
_SECTIONS = frozenset({"properties", "appenders", "loggers", "customlevels"})
# Attributes of the configuration that change nothing of what is written here.
_SILENT = frozenset({
    "status", "name", "dest", "verbose", "packages", "strict", "schema", "schemaresource", "shutdownhook",
    "shutdowntimeout",
    "advertiser", "xmlns", "debug",
})  # fmt: skip


def interpret(root: Element, environment: Mapping[str, str] = os.environ, path: Path | None = None) -> LogPlan:
    """Return the plan of a configuration, which was read from `path`. Raises ValueError for endless lookups."""
    return _Reading(root, environment, path).plan()


class _Reading:
    def __init__(self, root: Element, environment: Mapping[str, str], path: Path | None) -> None:
        self._root = root
        self._warnings: dict[str, None] = {}
        self._lookups = Lookups(environment, path, self._warn)
        self._levels = dict(LEVELS)
        for node in find(root, "property"):
            raw = next((value for key, value in node.attrib.items() if key.lower() == "value"), node.text or "")
            self._lookups.properties[self._get(node, "name")] = raw.strip()
        for node in find(root, "customlevel"):
            number = self._get(node, "intlevel")
            if number.isdigit():  # log4j's numbers fall where logging's rise: INFO is 400 and 20
                self._levels[self._get(node, "name").upper()] = max(10, min(50, 60 - int(number) // 10))
        self._reading = AppenderReading(self._get, self._level, self._warn)

    def plan(self) -> LogPlan:
        self._check_configuration()
        appenders = self._appenders()
        nodes: dict[str, Element] = {}
        for section in find(self._root, "loggers"):
            for node in section:
                if tag(node) in _LOGGERS:
                    nodes.update(dict.fromkeys(self._names(node), node))
                else:
                    self._warn(f"{node.tag} among the loggers is not known here and is left out")
        every = read_filters(self._root, self._get, self._level, self._warn)
        routes: dict[str, Route] = {ROOT: Route(logging.ERROR, ())}
        for name in sorted(nodes, key=lambda name: name.count(".") + bool(name)):  # ancestors first
            routes[name] = self._route(nodes[name], appenders, self._parent(name, routes), is_root=name == ROOT)
        if every is not None:
            routes = {name: _filtered(route, every) for name, route in routes.items()}
        return LogPlan(routes, tuple(self._warnings))

    def _check_configuration(self) -> None:
        for name in self._root.attrib:
            plain = name.rpartition("}")[2].lower()
            if plain == "monitorinterval":
                self._warn("monitorInterval: the file is read at the start alone")
            elif plain not in _SILENT:
                self._warn(f"{name} of the configuration is not known here and is left out")
        for node in self._root:
            if tag(node) not in _SECTIONS and not is_filter(node):
                self._warn(f"{node.tag} is not known here and is left out")

    # ---- appenders

    def _appenders(self) -> dict[str, tuple[Appender, ...]]:
        found: dict[str, tuple[Appender, ...]] = {}
        referring: dict[str, list[str]] = {}
        for section in find(self._root, "appenders"):
            for node in section:
                name, names = self._get(node, "name"), self._reading.references(node)
                if names:
                    referring[name] = names
                else:
                    made = self._reading.appender(node)
                    found[name] = () if made is None else (made,)
        for _ in referring:  # an Async may refer to another one
            for name, names in referring.items():
                found[name] = tuple(each for other in names for each in found.get(other, ()))
        for names in referring.values():
            for other in names:
                if other not in found:
                    self._warn(f"there is no appender {other!r}")
        return found

    # ---- loggers

    def _parent(self, name: str, routes: Mapping[str, Route]) -> Route:
        while name:
            name = name.rpartition(".")[0]
            if name in routes:
                return routes[name]
        return routes[ROOT]

    def _route(
        self, node: Element, appenders: Mapping[str, tuple[Appender, ...]], parent: Route, *, is_root: bool
    ) -> Route:
        level = self._level(self._get(node, "level")) if self._get(node, "level") else None
        own = self._referred(node, appenders)
        additive = not is_root and self._get(node, "additivity").lower() != "false"
        inherited = parent.appenders if additive else ()
        made = Route(parent.level if level is None else level, _once((*own, *inherited)))
        accepts = read_filters(node, self._get, self._level, self._warn)
        return made if accepts is None else _filtered(made, accepts)

    def _referred(self, node: Element, appenders: Mapping[str, tuple[Appender, ...]]) -> list[Appender]:
        found: list[Appender] = []
        for child in node:
            if tag(child) != "appenderref":
                if not is_filter(child) and tag(child) not in {"property", "layout"}:
                    self._warn(f"{child.tag} of a logger is not known here and is left out")
                continue
            name = self._get(child, "ref")
            if name not in appenders:
                self._warn(f"there is no appender {name!r}")
            text = self._get(child, "level")
            least = self._level(text) if text else None
            accepts = read_filters(child, self._get, self._level, self._warn)
            for each in appenders.get(name, ()):
                limited = each if least is None else _narrowed(each, lambda line, least=least: line.level >= least)
                found.append(limited if accepts is None else _narrowed(limited, accepts))
        return found

    def _names(self, node: Element) -> tuple[str, ...]:
        """Return the names that a logger has here; none for a logger of a Java library."""
        name = self._get(node, "name")
        if tag(node) in {"root", "asyncroot"} or name in {"", "root"}:
            return (ROOT,)
        if name in _OURS:
            return (_OURS[name],)
        if name.startswith("org.pytorch.serve."):
            self._warn(f"logger {name!r}: there is no such part of the server here, and it is left out")
            return ()
        return () if name in _JVM or name.startswith(_JVM[:6]) else (name,)

    # ---- text

    def _level(self, text: str) -> int | None:
        found = self._levels.get(text.upper())
        if found is None:
            self._warn(f"{text!r} is no log4j2 level; the level is inherited")
        return found

    def _get(self, node: Element, name: str) -> str:
        """Return an attribute, or the text of the element if `name` is empty."""
        if not name:
            return self._lookups.fill((node.text or "").strip())
        value = next((value for key, value in node.attrib.items() if key.lower() == name), None)
        if value is None and name not in {"level", "type"}:  # <RollingFile><FileName>…</FileName></RollingFile>
            value = next((child.text for child in node if tag(child) == name and not len(child)), None)
        return self._lookups.fill((value or "").strip())

    def _warn(self, message: str) -> None:
        self._warnings[message] = None


def _once(appenders: tuple[Appender, ...]) -> tuple[Appender, ...]:
    """Return the appenders with each file or stream once, which takes what any reference to it accepts."""
    found: dict[tuple[Appender, Layout], Appender] = {}
    for each in appenders:
        before = found.get((each.output, each.layout))
        found[each.output, each.layout] = each if before is None else _either(before, each)
    return tuple(found.values())


def _either(one: Appender, other: Appender) -> Appender:
    first, second = one.accepts, other.accepts
    if first is None or second is None:
        return one if first is None else other
    return replace(one, accepts=lambda line: first(line) or second(line), shares=one.output)


def _filtered(route: Route, accepts: Accepts) -> Route:
    return Route(route.level, tuple(_narrowed(each, accepts) for each in route.appenders))


def _narrowed(appender: Appender, accepts: Accepts) -> Appender:
    """Return the appender as one that takes only lines that `accepts`, too."""
    before = appender.accepts

    def both(line: Line) -> bool:
        return (before is None or before(line)) and accepts(line)

    return replace(appender, accepts=both, shares=appender.output)
