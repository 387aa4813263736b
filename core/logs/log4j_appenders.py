"""Appenders of a log4j2 configuration: files and the console, their layouts, filters and rotation."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from xml.etree.ElementTree import Element

from .conversions import replacing
from .dates import Warn
from .filters import Accepts, Get, Level, is_filter, read_filters, tag
from .layout import PLAIN_PATTERN, TS_PATTERN, Layout, json_layout
from .patterns import pattern_layout
from .plan import Appender
from .rotation import Rotation

_FILES = frozenset({"file", "randomaccessfile", "rollingfile", "rollingrandomaccessfile", "memorymappedfile"})
_REFERRING = frozenset({"async", "rewrite", "failover"})
_SILENT = frozenset({"null", "countingnoop"})
_JSON = frozenset({"jsonlayout", "jsontemplatelayout", "jsonpatternlayout"})
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMG]?)I?B?", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_ARCHIVES = re.compile(r"\.(?:zip|bz2|deflate|pack200|xz|zst)$")
_DIRECT = re.compile(r"[-_.]?%d(?:\{[^}]*\})*|[-_.]?%\d*i|\.gz$")
_LATER_DATE = re.compile(r"\$\$\{date:([^}]*)\}")
# Attributes that change nothing of what is written, or that are read below. Others are named in a warning.
_ATTRIBUTES = frozenset({
    "name", "type", "filename", "filepattern", "target", "follow", "direct", "append", "bufferedio", "buffersize",
    "immediateflush", "ignoreexceptions", "locking", "createondemand", "advertise", "advertiseuri", "blocking",
    "shutdowntimeout",
    "includelocation", "queuesize", "bufferedsize", "regionlength", "errorref", "primary", "retryintervalseconds",
})  # fmt: skip
_LAYOUT_ATTRIBUTES = frozenset({
    "name", "pattern", "type", "charset", "alwayswriteexceptions", "disableansi", "noconsolenoansi", "includelocation",
    "locationinfo",
    "compact", "eventeol", "complete", "properties", "includestacktrace", "stacktraceenabled", "locationinfoenabled",
})  # fmt: skip


class AppenderReading:
    """The reading of the appenders' elements. `get` returns an attribute, with its lookups filled in."""

    def __init__(self, get: Get, level: Level, warn: Warn) -> None:
        self._get = get
        self._level = level
        self._warn = warn
        self._by_path: dict[Path, Appender] = {}

    def appender(self, node: Element) -> Appender | None:
        """Return the appender of an element; None for one that is not known, which is told, or that writes nothing."""
        kind, name = tag(node), self._get(node, "name")
        if kind in _SILENT:
            return None
        if kind != "console" and kind not in _FILES:
            self._warn(f"appender {name!r}: {node.tag} is not known here and is left out")
            return None
        self._check(node, _ATTRIBUTES, f"appender {name!r}")
        layout, accepts = self._layout(node), read_filters(node, self._get, self._level, self._warn)
        if kind == "console":
            self._leave_out(node, ("layout",))
            return Appender(
                layout, accepts=accepts, errors=self._get(node, "target").upper() in {"SYSTEM_ERR", "SYSTEM.ERR"}
            )
        return self._file(node, layout, accepts)

    def _file(self, node: Element, layout: Layout, accepts: Accepts | None) -> Appender | None:
        name, file, rolling = self._get(node, "name"), self._get(node, "filename"), tag(node).startswith("rolling")
        pattern = self._pattern(node)
        if not file and rolling and pattern:
            file = _DIRECT.sub("", pattern)
            self._warn(
                f"appender {name!r} writes to {file}, and puts it aside as {pattern}: there is no direct write here"
            )
        if not file:
            self._warn(f"the appender {name!r} has no fileName and is left out")
            return None
        if self._get(node, "append").lower() == "false":
            self._warn(f"appender {name!r}: {file} is appended to; append=false is not known here")
        path = Path(file).absolute()
        rotation = self._rotation(node, pattern or f"{file}.%i") if rolling else self._no_rotation(node)
        made = Appender(layout, path, rotation, accepts)
        first = self._by_path.setdefault(path, made)
        return made if first is made else replace(made, shares=first)

    def references(self, node: Element) -> list[str]:
        """Return the names of the appenders that this one only passes lines on to."""
        kind, name = tag(node), self._get(node, "name")
        if kind not in _REFERRING:
            return []
        if kind == "rewrite":
            self._warn(f"appender {name!r}: lines are passed on as they are; Rewrite's policies are not known here")
        if kind == "failover":
            self._warn(f"appender {name!r}: lines go to its primary appender alone; Failover is not known here")
            return [self._get(node, "primary")]
        return [self._get(child, "ref") or self._get(child, "value") for child in node if tag(child) == "appenderref"]

    # ---- layouts

    def _layout(self, node: Element) -> Layout:
        for child in node:
            kind = tag(child)
            if kind == "patternlayout":
                return self._pattern_layout(child)
            if kind in _JSON:
                self._check(child, _LAYOUT_ATTRIBUTES, f"{child.tag}, whose fields are always the same here")
                return json_layout
            if kind.endswith("layout"):
                self._warn(f"layout {child.tag} is not known here; TorchServe's own pattern is used")
                return pattern_layout(TS_PATTERN)
        return pattern_layout(PLAIN_PATTERN)

    def _pattern_layout(self, node: Element) -> Layout:
        self._check(node, _LAYOUT_ATTRIBUTES, "PatternLayout")
        charset = self._get(node, "charset").upper().replace("-", "").replace("_", "")
        if charset not in {"", "UTF8", "USASCII", "ASCII"}:
            self._warn(f"logs are UTF-8 here, and not {self._get(node, 'charset')}")
        quiet = self._true(node, "noconsolenoansi") and not sys.stdout.isatty()
        traces = self._get(node, "alwayswriteexceptions").lower() != "false"
        inner = next((self._get(each, "") for each in find(node, "pattern")), "")
        layout = pattern_layout(
            self._get(node, "pattern") or inner or "%m%n",
            self._warn, ansi=not (quiet or self._true(node, "disableansi")), traces=traces,
        )  # fmt: skip
        for child in node:
            if tag(child) == "replace":
                replaced = replacing(self._get(child, "regex"), self._get(child, "replacement"), self._warn)
                layout = _both(layout, replaced)
            elif tag(child) != "pattern":
                self._warn(f"{child.tag} of PatternLayout is not known here and is left out")
        return layout

    def _true(self, node: Element, name: str) -> bool:
        return self._get(node, name).lower() == "true"

    # ---- rotation

    def _pattern(self, node: Element) -> str:
        raw = next((value for key, value in node.attrib.items() if key.lower() == "filepattern"), "")
        node.set("filePattern", _LATER_DATE.sub(r"%d{\1}", raw))  # looked up when a file is put aside
        for key in [key for key in node.attrib if key.lower() == "filepattern" and key != "filePattern"]:
            del node.attrib[key]
        pattern = self._get(node, "filepattern")
        if _ARCHIVES.search(pattern):
            self._warn(f"files are put aside as .gz here, and not as {pattern}")
            pattern = _ARCHIVES.sub(".gz", pattern)
        return pattern

    def _no_rotation(self, node: Element) -> None:
        self._leave_out(node, ("layout",))

    def _rotation(self, node: Element, pattern: str) -> Rotation | None:
        self._leave_out(node, ("layout", "policies", "policy", "strategy"))
        policies = [child for child in node.iter() if tag(child).endswith("policy")]
        if not policies:
            return None
        rotation = Rotation(str(Path(pattern).absolute()), None, daily=False, keep=self._keep(node))
        for policy in policies:
            kind = tag(policy)
            if kind == "sizebasedtriggeringpolicy":
                rotation = replace(rotation, size=self._bytes(self._get(policy, "size") or "10 MB"))
            elif kind == "timebasedtriggeringpolicy":
                every = self._get(policy, "interval")
                rotation = replace(rotation, daily=True, every=max(1, int(every)) if every.isdigit() else 1)
            elif kind == "onstartuptriggeringpolicy":
                rotation = replace(rotation, at_start=True)
            elif kind == "crontriggeringpolicy":
                self._warn(f"{policy.tag} is not known here: files are put aside by size and by day")
                rotation = replace(rotation, daily=True)
            elif kind != "compositetriggeringpolicy":
                self._warn(f"{policy.tag} is not known here: files are put aside by size and by day")
        return rotation

    def _keep(self, node: Element) -> int:
        keep = 7
        for child in node:
            if not tag(child).endswith("strategy"):
                continue
            most = self._get(child, "max")
            keep = int(most) if most.isdigit() and int(most) else keep
            if self._get(child, "fileindex").lower() == "nomax":
                keep = sys.maxsize
            for inner in child:
                self._warn(
                    f"{inner.tag} of {child.tag} is not known here: its max says how many files are kept, here {keep}"
                )
        return keep

    def _bytes(self, text: str) -> int:
        found = _SIZE.fullmatch(text.strip())
        if found is None:
            self._warn(f"{text!r} is no size; 10 MB is used")
            return 10 << 20
        return int(float(found[1]) * _UNITS[found[2].upper()])

    # ---- what is not known

    def _check(self, node: Element, known: frozenset[str], whose: str) -> None:
        for name in node.attrib:
            if name.lower() not in known:
                self._warn(f"{whose}: {name} is not known here and is left out")

    def _leave_out(self, node: Element, known: tuple[str, ...]) -> None:
        for child in node:
            if not tag(child).endswith(known) and not is_filter(child):
                self._warn(f"appender {self._get(node, 'name')!r}: {child.tag} is not known here and is left out")


def _both(layout: Layout, replaced: Callable[[str], str]) -> Layout:
    return lambda line: replaced(layout(line))


def find(node: Element, name: str) -> Iterator[Element]:
    """Return the elements of a kind within `node`."""
    return (child for child in node.iter() if tag(child) == name)
