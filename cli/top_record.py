"""The readings of `torchserve top` in a file, one JSON line each: written within a bound, and read again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from .load import GpuLoad, ModelLoad, TextLoad
from .view import View, as_json_object

MOST_FILE: Final = 1 << 26  # bytes of a file, which is then renamed to .1, in place of the one before
_LONGEST: Final = 1 << 25  # bytes of a line that is read

T = TypeVar("T")


class Record:
    """A file to which readings are appended. With the one that was put aside it has 2 * MOST_FILE bytes at most."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, at: float, view: View | None, error: str = "") -> None:
        """Append a reading of Unix time `at`, or why there is none. Raises click.ClickException."""
        told = {"error": error} if view is None else as_json_object(view)
        line = json.dumps({"at": round(at, 3), **told}, separators=(",", ":")).encode() + b"\n"
        try:
            if self._path.exists() and self._path.stat().st_size + len(line) > MOST_FILE:
                self._path.replace(aside(self._path))
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb", buffering=0) as file:  # noqa: PTH123  (of a descriptor)
                file.write(line)
        except OSError as failed:
            raise click.ClickException(f"{self._path} can't be written: {failed.strerror}") from None


def aside(path: Path) -> Path:
    """Return the name of the file that was put aside."""
    return path.with_name(f"{path.name}.1")


def readings(path: Path) -> Iterator[tuple[float, View | None, str]]:
    """Yield the readings of a record, oldest first: Unix time, and what was seen or why nothing was.

    A line that is torn or none of ours is left out: a record may end in the middle of one. Raises click.ClickException.
    """
    files = [each for each in (aside(path), path) if each.exists()]
    if path not in files:
        raise click.ClickException(f"{path} can't be read: there is no such file")
    for each in files:
        try:
            with each.open("rb") as file:
                while line := file.readline(_LONGEST):
                    found = _reading(line)
                    if found is not None:
                        yield found
        except OSError as failed:
            raise click.ClickException(f"{each} can't be read: {failed.strerror}") from None


def _reading(line: bytes) -> tuple[float, View | None, str] | None:
    try:
        told = json.loads(line)
        at = float(told["at"])
        return (at, None, str(told["error"])) if "error" in told else (at, _view(told), "")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _view(told: Mapping[str, Any]) -> View:
    workers: list[tuple[str, str, Mapping[str, Any]]] = [
        (str(each["model"]), str(each["version"]), _worker(each)) for each in told["workers"]
    ]
    return View(
        [_made(ModelLoad, each) for each in told["models"]],
        workers,
        [_made(GpuLoad, each) for each in told["gpus"]],
        float(told["window_seconds"]),
        [_made(TextLoad, each) for each in told["language_models"]],
    )


def _worker(told: Mapping[str, Any]) -> dict[str, Any]:
    """Return a worker without the two keys that are the model's. Raises KeyError if it lacks what is shown."""
    worker = {key: value for key, value in told.items() if key not in {"model", "version"}}
    return {"id": worker["id"], "status": worker["status"], **worker}


def _made(kind: type[T], told: Mapping[str, Any]) -> T:
    """Return the record that `told` has the fields of; those of a later version are left out."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in told.items() if name in known})
