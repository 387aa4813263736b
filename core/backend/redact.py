"""Redacts payloads for the payload log: `python -m torchserve.core.backend.redact FOLDER MODULE FUNCTION`.

It reads lines of JSON from the socket that is its standard input, calls a function of the model's archive with each,
and writes back a line with the body to log, or none to leave the record out, or why it failed.
"""

from __future__ import annotations

import argparse
import base64
import importlib
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from .parent_death import die_with_parent

Redact = Callable[[dict[str, Any]], Any]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m torchserve.core.backend.redact")
    parser.add_argument("--parent", type=int)
    for name in ("folder", "module", "function"):
        parser.add_argument(name)
    given = parser.parse_args()
    die_with_parent(given.parent)
    front = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    function, problem = None, ""
    try:
        function = find(given.folder, given.module, given.function)
    except BaseException as error:  # noqa: BLE001  (whatever the archive's module raises is told for each record)
        problem = f"{type(error).__name__}: {error}"
    with front, front.makefile("rb") as lines:
        for line in lines:
            answer = {"error": problem} if function is None else redacted(function, orjson.loads(line))
            front.sendall(orjson.dumps(answer) + b"\n")
    return 0


def find(folder: str, module: str, name: str) -> Redact:
    """Return a function of a module in the model's folder. Raises whatever importing it raises, AttributeError."""
    sys.path.insert(0, folder)
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def redacted(function: Redact, told: Mapping[str, Any]) -> dict[str, str]:
    """Return the answer to one record: its new `body` in base64, an `error`, or nothing if it is left out."""
    record = {**told, "body": base64.b64decode(told["body"])}
    try:
        body = function(record)
        if body is None:
            return {}
        if isinstance(body, dict):
            body = body["body"]
        data = body.encode() if isinstance(body, str) else bytes(memoryview(body))
    except BaseException as error:  # noqa: BLE001  (SystemExit included: the record is lost, and the next one is tried)
        return {"error": f"{type(error).__name__}: {error}".encode("utf-8", "replace").decode()}
    return {"body": base64.b64encode(data).decode()}


if __name__ == "__main__":
    sys.exit(main())
