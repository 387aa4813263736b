"""LogLines: the output of an engine, as lines for the worker's own log, within bounds.

A line that is too long is cut, and of an engine that prints faster than anyone reads, lines are left out and counted:
else it would keep the front, which writes the log, from its requests.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque

LONGEST = 8192  # bytes of a line
_BURST = 4 << 20  # bytes that may come at once, as an engine says a lot while it starts
_STEADY = 256 << 10  # bytes a second
_KEPT = 20  # lines for the error of an engine that ends while it starts
_PIECE = 64 * 1024


class LogLines:
    """A cutter of one stream of bytes into lines."""

    def __init__(self) -> None:
        self.last: deque[bytes] = deque(maxlen=_KEPT)
        self._rest = b""
        self._cut = False  # whether the line that arrives has been cut, and its rest is dropped
        self._budget = float(_BURST)
        self._since: float | None = None
        self._left_out = 0

    def take(self, data: bytes, now: float) -> bytes:
        """Return the lines to be written, of those that `data` ends. `now` is in seconds."""
        if self._since is not None:
            self._budget = min(float(_BURST), self._budget + (now - self._since) * _STEADY)
        self._since = now
        *lines, rest = (self._rest + data).split(b"\n")
        shown = [self._shown(line) for line in lines]
        self._rest = rest
        if len(rest) > LONGEST:
            if not self._cut:
                shown.append(self._told(rest[:LONGEST] + " … (cut)".encode()))
            self._cut, self._rest = True, b""
        return b"".join(shown)

    def end(self) -> bytes:
        """Return the line that the end of the stream leaves without its end, b"" if there is none."""
        rest, self._rest = self._rest, b""
        return self._shown(rest) if rest else b""

    def _shown(self, line: bytes) -> bytes:
        if self._cut:
            self._cut = False
            return b""
        return self._told(line[:LONGEST])

    def _told(self, line: bytes) -> bytes:
        self.last.append(line)
        if len(line) >= self._budget:
            self._left_out += 1
            return b""
        self._budget -= len(line) + 1
        left_out, self._left_out = self._left_out, 0
        told = f"({left_out} lines of the engine were left out: it prints too many)\n".encode() if left_out else b""
        return told + line + b"\n"


def pump(source: int, target: int, lines: LogLines) -> threading.Thread:
    """Start a thread that passes on the lines of the descriptor `source` to `target`, until the stream's end."""

    def run() -> None:
        try:
            while data := os.read(source, _PIECE):
                _write(target, lines.take(data, time.monotonic()))
            _write(target, lines.end())
        except OSError:
            pass  # the front has gone, and this process goes with it
        finally:
            os.close(source)

    thread = threading.Thread(target=run, name="engine's output", daemon=True)
    thread.start()
    return thread


def _write(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]
