"""Colours of a terminal, by log4j's names of styles."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .dates import Warn

_COLOURS = ("black", "red", "green", "yellow", "blue", "magenta", "cyan", "white")
_CODES = {"normal": 0, "bright": 1, "dim": 2, "underline": 3, "blink": 5, "reverse": 7, "hidden": 8, "default": 39}
_CODES |= {"bg_default": 49, "fg_default": 39}
_CODES |= {f"{at}{name}": base + number for at, base in (("", 30), ("fg_", 30), ("bg_", 40))
           for number, name in enumerate(_COLOURS)}  # fmt: skip
_LOG4J = {"FATAL": "1;31", "ERROR": "1;31", "WARN": "33", "INFO": "32", "DEBUG": "36", "TRACE": "30"}
_LOGBACK = {"FATAL": "5;1;31", "ERROR": "1;31", "WARN": "31", "INFO": "34", "DEBUG": "", "TRACE": ""}
COLOURS = frozenset(_COLOURS)


def styled(text: str, codes: str) -> str:
    return f"\x1b[{codes}m{text}\x1b[m"


def style_codes(words: str, warn: Warn) -> str:
    """Return the codes of `red, bright`. `warn` is told of a word that is no style."""
    codes: list[str] = []
    for word in filter(None, re.split(r"[,\s]+", words.lower())):
        code = _CODES.get(word)
        if code is None:
            warn(f"the style {word!r} is not known here")
        else:
            codes.append(str(code))
    return ";".join(codes)


def level_styles(options: Sequence[str], warn: Warn) -> dict[str, str]:
    """Return the codes by level of `%highlight{…}{FATAL=white, STYLE=Logback}`."""
    styles = dict(_LOG4J)
    for each in ",".join(options).split(","):
        name, separator, words = (part.strip() for part in each.partition("="))
        if name.upper() == "STYLE":
            styles = dict(_LOGBACK if words.upper() == "LOGBACK" else _LOG4J)
        elif separator:
            styles[name.upper()] = style_codes(words, warn)
    return styles
