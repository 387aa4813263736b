"""Reading a `config.properties`: the Java properties grammar, as text values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import javaproperties

from ..errors import InvalidConfig

_VARIABLE = re.compile(r"\$\$(\w+)\$\$")


def read_properties(path: Path) -> dict[str, str]:
    """The file's keys and values; a key given twice has its last value.

    Raises InvalidConfig naming the file when it can't be read or is no properties file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidConfig(f"Invalid configuration: {path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"Invalid configuration: {path} is not UTF-8 text (byte {error.start})") from error
    try:
        return javaproperties.loads(text)
    except javaproperties.InvalidUEscapeError as error:
        raise InvalidConfig(f"Invalid configuration: {path}: {error}") from error


def fill_in(values: Mapping[str, str], environment: Mapping[str, str], source: str) -> dict[str, str]:
    """The values with each `$$NAME$$` replaced by that environment variable. Raises InvalidConfig if it is not set."""

    def look_up(found: re.Match[str]) -> str:
        value = environment.get(found[1])
        if value is None:
            raise InvalidConfig(f"Invalid configuration: Invalid Environment Variable {found[1]} in {source}")
        return value

    return {key: _VARIABLE.sub(look_up, text) for key, text in values.items()}
