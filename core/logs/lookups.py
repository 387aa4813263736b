"""Lookups: what `${env:A:-${env:B:-logs}}` stands for in a log4j2 configuration."""

from __future__ import annotations

import base64
import getpass
import os
import platform
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from .dates import Warn, date_text

_DEEPEST = 20
_LONGEST = 65_536  # characters of one value: properties may name each other


class Lookups:
    """The values that a configuration may name: its own properties, the environment, and what the JVM would know.

    `warn` is told of a lookup that has neither a value nor a default; it is empty then.
    """

    def __init__(self, environment: Mapping[str, str], path: Path | None, warn: Warn) -> None:
        self.properties: dict[str, str] = {}
        self._environment = environment
        self._path = path
        self._warn = warn

    def fill(self, text: str, depth: int = 0) -> str:
        """Return `text` with the values of its lookups. Raises ValueError if that is too long."""
        if depth > _DEEPEST:
            self._warn(f"{text[:80]!r} names itself, and is empty")
            return ""
        parts: list[str] = []
        at = 0
        while (begin := text.find("${", at)) >= 0 and (end := _end(text, begin)) > 0:
            ahead = text[at:begin]
            parts.append(ahead.removesuffix("$"))  # $${…} is looked up for each event in log4j
            parts.append(self._value(text[begin + 2 : end], depth + 1))
            at = end + 1
        filled = "".join([*parts, text[at:]])
        if len(filled) > _LONGEST:
            raise ValueError(f"a value of more than {_LONGEST} characters, by what its properties name")
        return filled

    def _value(self, inner: str, depth: int) -> str:
        name, default = _split(inner)
        name = self.fill(name, depth)
        value = self._look_up(name, depth)
        if value is not None:
            return value
        if default is not None:
            return self.fill(default, depth)
        self._warn(f"${{{name}}} has no value here")
        return ""

    def _look_up(self, name: str, depth: int) -> str | None:
        kind, separator, key = name.partition(":")
        if not separator:
            found = self.properties.get(name)
            return self.fill(found, depth) if found is not None else _BUILT_IN.get(name, lambda: None)()
        kind = kind.lower()
        if kind == "env":
            return self._environment.get(key)
        if kind == "sys":
            return _system_property(key, self._environment)
        if kind == "date":
            return date_text([key], self._warn)(time.time())
        if kind == "log4j" and self._path is not None:
            places = {"configLocation": str(self._path), "configParentLocation": str(self._path.parent)}
            return places.get(key)
        if kind in {"lower", "upper"}:
            return key.lower() if kind == "lower" else key.upper()
        if kind == "base64":
            try:
                return base64.b64decode(key, validate=True).decode()
            except ValueError:
                return None
        return None


_BUILT_IN = {"hostName": socket.gethostname, "contextName": lambda: "torchserve"}


def _system_property(name: str, environment: Mapping[str, str]) -> str | None:
    """Return the value of a JVM's system property that has one without a JVM."""
    values = {
        "user.dir": os.getcwd,
        "user.home": lambda: environment.get("HOME") or os.path.expanduser("~"),  # noqa: PTH111  (no home is no error)
        "user.name": _user,
        "java.io.tmpdir": tempfile.gettempdir,
        "file.separator": lambda: os.sep,
        "path.separator": lambda: os.pathsep,
        "line.separator": lambda: "\n",
        "os.name": platform.system,
        "os.arch": platform.machine,
        "os.version": platform.release,
        "file.encoding": lambda: "UTF-8",
        "hostName": socket.gethostname,
        "pid": lambda: str(os.getpid()),
    }
    make = values.get(name)
    try:
        return make() if make is not None else None
    except OSError:
        return None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.geteuid())


def _end(text: str, begin: int) -> int:
    """Return where the lookup that begins at `begin` ends, -1 if it has no end."""
    depth, at = 0, begin
    while at < len(text):
        if text.startswith("${", at):
            depth, at = depth + 1, at + 2
        elif text[at] == "}":
            depth, at = depth - 1, at + 1
            if depth == 0:
                return at - 1
        else:
            at += 1
    return -1


def _split(inner: str) -> tuple[str, str | None]:
    """Return the name and the default of `env:A:-b`; what is within a further lookup is not looked at."""
    depth, at = 0, 0
    while at < len(inner):
        if inner.startswith("${", at):
            depth, at = depth + 1, at + 2
        elif inner[at] == "}":
            depth, at = depth - 1, at + 1
        elif depth == 0 and inner.startswith(":-", at):
            return inner[:at], inner[at + 2 :]
        else:
            at += 1
    return inner, None
