"""Redactor: a process in which a function of an archive changes what is logged of its model.

The function is the model author's: it runs in a process of its own, with the model's Python, and never in the server's.
A record that it does not answer for in time, or fails at, is not logged at all. All calls come from one thread, the
writer's; `close` may come from another.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from typing import Any, Final

import orjson

from .record import REQUEST, PayloadRecord
from .writer import NotRedacted

TIMEOUT: Final = 5.0  # seconds that the function may take
STARTUP: Final = 60.0  # seconds that the first call may take, with the imports
_AGAIN: Final = 5.0  # seconds after a failure in which no new process is started
_LONGEST: Final = 1 << 26  # bytes of an answer


@dataclass(frozen=True, slots=True)
class Redaction:
    """A function that redacts, by module and name in a model's folder, and the Python and variables that run it."""

    model_dir: str
    function: tuple[str, str]
    python: str | None = None
    environment: Mapping[str, str] | None = None


class Redactor:
    """A process that redacts, started when the first record comes, and anew after it has failed."""

    def __init__(self, redaction: Redaction, timeout: float = TIMEOUT, startup: float = STARTUP) -> None:
        self._redaction = redaction
        self._timeout, self._startup = timeout, startup
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._answers: BufferedReader | None = None
        self._failed_at = -_AGAIN
        self._closed = False

    def redact(self, record: PayloadRecord) -> PayloadRecord | None:
        """Return the record as the function wants it, None if it is to be left out. Raises NotRedacted."""
        try:
            answer = self._ask(record)
        except (OSError, ValueError) as error:
            self._end()
            self._failed_at = time.monotonic()
            raise NotRedacted(str(error) or type(error).__name__) from error
        if "error" in answer:
            raise NotRedacted(str(answer["error"])[:500])
        if "body" not in answer:
            return None
        body = base64.b64decode(answer["body"])
        return record._replace(body=body, size=len(body) if record.size == len(record.body) else record.size)

    def _ask(self, record: PayloadRecord) -> dict[str, Any]:
        started = self._process is None
        if started:
            self._start()
        connection, answers = self._socket, self._answers
        if connection is None or answers is None:
            raise OSError("the model is being removed")
        connection.settimeout(self._startup if started else self._timeout)
        connection.sendall(_encoded(record))
        line = answers.readline(_LONGEST)
        if not line.endswith(b"\n"):
            raise OSError("the process that redacts has ended")
        found = orjson.loads(line)
        return found if isinstance(found, dict) else {}

    def _start(self) -> None:
        if self._closed or time.monotonic() - self._failed_at < _AGAIN:
            raise OSError("the function has failed, and is tried again in some seconds")
        what = self._redaction
        ours, theirs = socket.socketpair()
        command = [what.python or sys.executable, "-P", "-m", "torchserve.core.backend.redact"]
        command += ["--parent", str(os.getpid()), what.model_dir, *what.function]
        try:
            self._process = subprocess.Popen(
                command,
                env=None if what.environment is None else dict(what.environment),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket, self._answers = ours, ours.makefile("rb")

    def close(self) -> None:
        """End the process for good. May block for the time that a process takes to die."""
        self._closed = True
        self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        for each in (self._answers, self._socket):
            if each is not None:
                with contextlib.suppress(OSError):
                    each.close()


def _encoded(record: PayloadRecord) -> bytes:
    told: dict[str, Any] = {
        "kind": "request" if record.kind == REQUEST else "response",
        "id": record.id,
        "model": record.model,
        "version": record.version,
        "content_type": record.content_type,
        "status": record.status,
        "truncated": record.size > len(record.body),
        "body": base64.b64encode(record.body).decode(),
    }
    texts = {
        name: value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
        for name, value in told.items()
    }
    return orjson.dumps(texts) + b"\n"
