"""Reads `config.properties` by the grammar of Java's properties files, as text values with their lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import javaproperties

from ..errors import InvalidConfig
from ..trusted_file import NotTrusted, follow, read_trusted

_VARIABLE = re.compile(r"\$\$([^$]+)\$\$")


@dataclass(frozen=True, slots=True)
class Property:
    """A key and its text, and the line of the file where it begins."""

    key: str
    text: str
    line: int


def read_properties(path: Path, *, unasked: bool = False) -> list[Property]:
    """Return the properties of the file in its order. It is read as UTF-8, or as Latin-1 (Java's encoding) if it is not
    UTF-8.

    `unasked` says that nobody has named the file. Raises InvalidConfig, naming the file, if it can't be read, is no
    properties file, or was found unasked and can't be trusted.
    """
    try:
        data = read_trusted(follow(path)) if unasked else path.read_bytes()
    except NotTrusted as error:
        raise InvalidConfig(
            f"Invalid configuration: {path} is not believed unasked: {error.strerror}."
            " Name it with --ts-config if it is meant."
        ) from None
    except OSError as error:
        raise InvalidConfig(f"Invalid configuration: {path} can't be read: {error.strerror}") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    found: list[Property] = []
    line = 1
    try:
        for item in javaproperties.parse(text):
            if isinstance(item, javaproperties.KeyValue):
                found.append(Property(item.key, item.value, line))
            line += len(re.findall(r"\r\n|\r|\n", item.source))
    except javaproperties.InvalidUEscapeError as error:
        raise InvalidConfig(f"Invalid configuration: {path}, line {line}: {error}") from error
    return found


def fill_in(text: str, environment: Mapping[str, str]) -> str:
    """Return `text` with environment variables in place of each `$$NAME$$`. Raises ValueError naming one not set."""

    def look_up(found: re.Match[str]) -> str:
        value = environment.get(found[1])
        if value is None:
            raise ValueError(f"Invalid Environment Variable {found[1]}")
        return value

    return _VARIABLE.sub(look_up, text)
