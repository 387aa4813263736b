"""The grammar of model names and versions, wherever they come from: an archive, a registration, a flag, a snapshot.

A name becomes part of URL paths, file names, process arguments, log lines and metric labels; a character that has a
meaning of its own in one of them is refused. All that torch-model-archiver accepts as a name is legal.
"""

from __future__ import annotations

import unicodedata

from .errors import BadRequest

LONGEST = 255  # bytes of UTF-8, as a file's name
_INNER = frozenset("_-.+:@~ ")
_OUTER = frozenset("_")
_SCRIPTS = ("L", "M", "N")  # Unicode's letters, marks and numbers
_RULE = (
    "it consists of letters and digits of any script, _ - . + : @ ~ and spaces, begins with a letter, a digit or _, and"
    f" has at most {LONGEST} bytes"
)


def check_name(name: str) -> str:
    """Return `name`. Raises BadRequest, naming it and the character, if it can't be a model's name."""
    return _check("model name", name)


def check_version(version: str) -> str:
    """Return `version`. Raises BadRequest, naming it and the character, if it can't be a model's version."""
    return _check("model version", version)


def _check(what: str, text: str) -> str:
    wrong = why_not(text)
    if wrong:
        raise BadRequest(f"Invalid {what} {_shown(text)}: {wrong}; {_RULE}")
    return text


def why_not(text: str) -> str:
    """Return what is wrong with a name or version, "" if nothing is."""
    if not text:
        return "it is empty"
    if len(text) > LONGEST or len(text.encode("utf-8", "surrogatepass")) > LONGEST:
        return f"it has {len(text)} characters"
    for place, character in enumerate(text, 1):
        kind = unicodedata.category(character)[0]
        if kind in _SCRIPTS and not (place == 1 and kind == "M"):
            continue
        if character not in (_OUTER if place == 1 else _INNER):
            return f"character {place} is {character!a}"
    return "it ends with a space" if text.endswith(" ") else ""


def _shown(text: str) -> str:
    return ascii(text) if len(text) <= 80 else f"{text[:80]!a}..."
