"""The process that asks the driver: `python -m torchserve.scheduler.gpu_process`.

A sick driver hangs the process that calls it, beyond any signal's reach, so the server leaves the calls to this one.
Each line on stdin is answered by a line of JSON:

    {"gpus": [...], "xids": [[uuid, xid], ...], "log": [[level, text], ...]}
"""

from __future__ import annotations

import dataclasses
import json
import logging
import sys

from .devices import Xids, probe


class _LogBuffer(logging.Handler):
    """A handler that keeps what was logged until it is taken."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append((record.levelno, record.getMessage()))

    def take(self) -> list[tuple[int, str]]:
        """Return (level, text) of each line logged since the last call."""
        lines, self._lines = self._lines, []
        return lines


def main() -> None:
    """Answer until stdin ends, which means that the server has gone."""
    buffer = _LogBuffer()
    logging.getLogger().addHandler(buffer)
    xids = Xids()
    for _ in sys.stdin:
        gpus = probe()
        answer = {
            "gpus": [dataclasses.asdict(gpu) for gpu in gpus],
            "xids": xids.take(),
            "log": buffer.take(),
        }
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
