"""Where a sink's text ends up. Only the writer's thread calls this, and nothing that a disk does is raised."""

from __future__ import annotations

import contextlib
import sys
import threading
from pathlib import Path
from typing import TextIO

from .plan import Sink
from .rotation import Rotation


class Console:
    """A stream that the process was started with."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str, lines: int, now: float) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
            self._stream.flush()

    def close(self) -> None:
        """It isn't ours to close."""


class LogFile:
    """A file, put aside as its Rotation says. `lost` counts the lines that the disk did not take."""

    def __init__(self, path: Path, rotation: Rotation | None = None) -> None:
        self._path = path
        self._rotation = rotation
        self._file: TextIO | None = None
        self._size = 0
        self._last = 0.0  # when it was last written, in seconds since the epoch
        self.lost = 0

    def create(self) -> None:
        """Have the file there before its first line, as TorchServe has; what can't be is found out by `write`."""
        with contextlib.suppress(OSError):
            self._open()

    def write(self, text: str, lines: int, now: float) -> None:
        """Append `lines` lines; `now` is seconds since the epoch."""
        try:
            file = self._file or self._open()
            if self._rotation is not None and self._rotation.due(self._size, self._last, now):
                file = self._put_aside(file, self._rotation, now)
            file.write(text)
            file.flush()
        except OSError:
            self.lost += lines  # a full or read-only disk costs log lines, never a request
            return
        self._size += len(text)
        self._last = now

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _open(self) -> TextIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a", encoding="utf-8", errors="replace")
        self._size = self._file.tell()
        self._last = self._path.stat().st_mtime
        return self._file

    def _put_aside(self, file: TextIO, rotation: Rotation, now: float) -> TextIO:
        try:
            aside = rotation.free_name(self._last)
            aside.parent.mkdir(parents=True, exist_ok=True)
            self._path.replace(aside)
        except OSError:
            self._size, self._last = 0, now  # it goes on as it is, and is tried again much later
            return file
        self.close()
        # Compressing takes seconds, which the lines behind must not wait for.
        threading.Thread(target=rotation.settle, args=(aside,), name="log-rotation", daemon=True).start()
        return self._open()


def destination(sink: Sink) -> Console | LogFile:
    """What writes a sink's text."""
    return Console(sys.stdout) if sink.path is None else LogFile(sink.path, sink.rotation)
