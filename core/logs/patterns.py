r"""pattern_layout(): the layout of a log4j conversion pattern, such as `%d{ISO8601} [%-5p] %t %c - %m%n`.

A conversion is `%`, then how it is aligned (`-5`, `05`, `.30`, `.-30`), a word, and options in braces, which may be
patterns themselves. As in log4j the longest known beginning of the word counts: `%msgs` is `%msg` and an `s`. What is
not known is shown as it is written, and told in a warning; no pattern is refused.
"""

from __future__ import annotations

import re

from .conversions import CONVERSIONS, Step, joined
from .dates import Warn
from .layout import READY, Layout, trace_lines

_ALIGNED = re.compile(r"(?P<left>-?)(?P<zero>0?)(?P<least>\d*)(?:\.(?P<head>-?)(?P<most>\d+))?")
_WORD = re.compile(r"[A-Za-z]\w*")
_ESCAPE = re.compile(r"\\([tnrfb\"'\\])")
_ESCAPED = {"t": "\t", "n": "\n", "r": "\r", "f": "\f", "b": "\b"}


def pattern_layout(pattern: str, warn: Warn = lambda _: None, *, ansi: bool = True, traces: bool = True) -> Layout:
    """Return the layout of a pattern. Without `ansi` it has no colours; without `traces` lines have no traceback added.

    `warn` is told of each conversion and option that is not known.
    """
    ready = READY.get(pattern) if traces else None
    if ready is not None:
        return ready
    reading = _Reading(warn, ansi=ansi)
    steps = reading.steps(_ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), pattern))
    shape = joined(steps)
    if not traces or reading.has_trace:
        return shape
    return lambda line: f"{shape(line)}{trace_lines(line.trace)}" if line.trace else shape(line)


class _Reading:
    def __init__(self, warn: Warn, *, ansi: bool) -> None:
        self.warn = warn
        self.ansi = ansi
        self.has_trace = False

    def steps(self, pattern: str) -> list[Step]:
        found: list[Step] = []
        at = 0
        while at < len(pattern):
            begin = pattern.find("%", at)
            if begin < 0:
                begin = len(pattern)
            if begin > at:
                found.append(pattern[at:begin])
            if begin < len(pattern):
                step, at = self._conversion(pattern, begin)
                found.append(step)
            else:
                at = begin
        return found

    def layout(self, pattern: str) -> Layout:
        return joined(self.steps(pattern))

    def _conversion(self, pattern: str, begin: int) -> tuple[Step, int]:
        """Return the step of the conversion at `begin`, and where the text behind it begins."""
        if pattern.startswith("%%", begin):
            return "%", begin + 2
        aligned = _ALIGNED.match(pattern, begin + 1)
        assert aligned is not None, "each part of it may be missing"
        word = _WORD.match(pattern, aligned.end())
        name = _longest(word[0]) if word else ""
        if not word or not name:
            end = word.end() if word else aligned.end()
            _, behind = _options(pattern, end) if word else ([], end)
            self.warn(f"the conversion {pattern[begin:behind]!r} is not known here and is shown as it is")
            return pattern[begin:end], behind
        end = aligned.end() + len(name)
        options, end = _options(pattern, end)
        step = CONVERSIONS[name](self, options, name)
        return _align(step, aligned), end


def _longest(word: str) -> str:
    return next((word[:end] for end in range(len(word), 0, -1) if word[:end] in CONVERSIONS), "")


def _options(pattern: str, at: int) -> tuple[list[str], int]:
    """Return the options in braces at `at`, and where they end. The last one may lack its brace."""
    found: list[str] = []
    while at < len(pattern) and pattern[at] == "{":
        depth, begin = 0, at + 1
        while at < len(pattern):
            depth += {"{": 1, "}": -1}.get(pattern[at], 0)
            at += 1
            if depth == 0:
                break
        found.append(pattern[begin : at - 1] if depth == 0 else pattern[begin:])
    return found, at


def _align(step: Step, aligned: re.Match[str]) -> Step:
    least, most = int(aligned["least"] or 0), int(aligned["most"]) if aligned["most"] else None
    if not least and most is None:
        return step
    least = min(least, 1000)

    def fit(text: str) -> str:
        if most is not None and len(text) > most:  # log4j does not align what it has cut
            return text[:most] if aligned["head"] else text[len(text) - most :]
        if aligned["left"]:
            return text.ljust(least)
        return text.rjust(least, "0" if aligned["zero"] else " ")

    return fit(step) if isinstance(step, str) else lambda line: fit(step(line))
