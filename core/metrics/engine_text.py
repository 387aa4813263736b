"""EngineText: the metrics of workers' own engines, such as vLLM's, as these tell them, beside the server's.

Their names and labels stay as they are, so that dashboards made for an engine go on working; each line gets one more
label, the worker. The text comes from a worker, so that everything about it is bounded, and lines that are no metrics
are left out. It is only read when it is shown, by the thread that writes the metrics.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

MOST_TEXT = 1 << 20  # characters of one worker
MOST_LINES = 5000  # of one worker
_MOST_WORKERS = 256
_LONGEST_LINE = 4096
_COMMENT = re.compile(r"# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) ?(.*)")
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\.)*"'
_SAMPLE = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{((?:{_LABEL},?)*)\}})? ([-+]?[0-9.][0-9.eE+-]*|[-+]?Inf|NaN)")
_SUFFIXES = ("_bucket", "_count", "_sum", "_total", "_created")
_KINDS = ("counter", "gauge", "histogram", "summary", "untyped")


@dataclass(slots=True)
class _Group:
    """The lines of one metric, of all workers."""

    help: str = ""
    kind: str = "untyped"
    lines: list[str] = field(default_factory=list[str])


class EngineText:
    """The texts of all workers that have an engine. `update` is for the event loop, `render` for any thread."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def update(self, worker: str, text: str) -> None:
        """Show `text` for a worker from now on, or nothing if it is "" or over the bound."""
        if text and len(text) <= MOST_TEXT and (worker in self._texts or len(self._texts) < _MOST_WORKERS):
            self._texts[worker] = text
        else:
            self._texts.pop(worker, None)

    def render(self, names: Collection[str], taken: Collection[str]) -> str:
        """Return the text of the metrics that `names` match, all if it is empty, less those that are `taken`."""
        groups: dict[str, _Group] = {}
        for worker, text in sorted(self._texts.copy().items()):
            _read(worker, text, groups)
        shown = [
            "".join([f"# HELP {name} {group.help}\n# TYPE {name} {group.kind}\n", *group.lines])
            for name, group in groups.items()
            if group.lines and name not in taken and (not names or any(fnmatchcase(name, each) for each in names))
        ]
        return "".join(shown)


def _read(worker: str, text: str, groups: dict[str, _Group]) -> None:
    label = f'torchserve_worker="{worker}"'
    for line in _lines(text):
        if comment := _COMMENT.fullmatch(line):
            group = groups.setdefault(comment[2], _Group())
            if comment[1] == "HELP":
                group.help = comment[3]
            elif comment[3] in _KINDS:
                group.kind = comment[3]
        elif sample := _SAMPLE.match(line):
            name, labels, value = sample[1], sample[2], sample[3]
            labels = f"{labels.rstrip(',')},{label}" if labels else label
            groups.setdefault(_family(name, groups), _Group()).lines.append(f"{name}{{{labels}}} {value}\n")


def _lines(text: str) -> Iterator[str]:
    for number, line in enumerate(text.split("\n")):
        if number >= MOST_LINES:
            return
        if len(line) <= _LONGEST_LINE:
            yield line.rstrip("\r")


def _family(name: str, groups: dict[str, _Group]) -> str:
    """Return the metric that a line belongs to: that of its name, or of its name without a histogram's ending."""
    if name in groups:
        return name
    for suffix in _SUFFIXES:
        if name.endswith(suffix) and (base := name.removesuffix(suffix)) in groups:
            return base
    return name
