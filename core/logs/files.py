"""Where a sink's text ends up. Only the writer's thread calls this, and nothing that a disk does is raised."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import TextIO

from ..trusted_file import open_appending
from .plan import Sink
from .rotation import Rotation


class Console:
    """A stream that the process was started with. `lost` and `cause` are as LogFile's.

    Once nobody can read it any more, as a closed terminal or a pipe whose reader has ended, it drops lines silently: a
    server in the background outlives the terminal that it was started from.
    """

    name = "the console"

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._readable = True
        self.lost = 0
        self.cause = ""

    def write(self, texts: Sequence[str], now: float) -> None:
        if not self._readable:
            return
        try:
            self._stream.write("".join(texts))
            self._stream.flush()
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in {errno.EPIPE, errno.EIO}:
                self._readable = False
                return
            self.lost += len(texts)
            self.cause = _cause(error)
        else:
            self.cause = ""

    def close(self) -> None:
        """It isn't ours to close."""


class LogFile:
    """A file, put aside as its Rotation says. `lost` counts the lines that the disk did not take; `cause` is why it
    took the latest ones not, or "".

    The file is written without a buffer: what a buffer kept of a failed write would be written later, though it was
    counted as lost.
    """

    def __init__(self, path: Path, rotation: Rotation | None = None) -> None:
        self._path = path
        self._rotation = rotation
        self._file: FileIO | None = None
        self._size = 0
        self._last = 0.0  # when it was last written, in seconds since the epoch
        self._torn = False  # whether the file ends in a part of a line
        self.name = str(path)
        self.lost = 0
        self.cause = ""

    def create(self) -> None:
        """Have the file there before its first line, as TorchServe has; what can't be is found out by `write`."""
        with contextlib.suppress(OSError):
            self._open()

    def write(self, texts: Sequence[str], now: float) -> None:
        """Append `texts`, each a line with all that belongs to it; `now` is seconds since the epoch."""
        begin = b"\n" if self._torn else b""
        data = memoryview(begin + _encoded("".join(texts)))
        taken = 0
        try:
            file = self._file or self._open()
            if self._rotation is not None and self._rotation.due(self._size, self._last, now):
                file = self._put_aside(file, self._rotation, now)
            while taken < len(data):  # a disk that is nearly full takes a part, and the next call says why
                taken += file.write(data[taken:]) or 0
        except OSError as error:  # a full or read-only disk costs log lines, never a request
            self._failed(error, texts, taken - len(begin))
            return
        self._torn, self.cause = False, ""
        self._size += len(data)
        self._last = now

    def close(self) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = None

    def _failed(self, error: OSError, texts: Sequence[str], taken: int) -> None:
        """Count the texts that are not within the first `taken` bytes. The file is opened anew for the next lines."""
        whole, end = 0, 0
        for size in (len(_encoded(text)) for text in texts):
            if end + size > taken:
                break
            whole, end = whole + 1, end + size
        if taken >= 0:  # else even the line break behind a torn line was not taken
            self._torn = taken > end
        self.lost += len(texts) - whole
        self.cause = _cause(error)
        self.close()

    def _open(self) -> FileIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = FileIO(open_appending(self._path), "ab")
        found = os.fstat(self._file.fileno())
        self._size, self._last = found.st_size, found.st_mtime
        return self._file

    def _put_aside(self, file: FileIO, rotation: Rotation, now: float) -> FileIO:
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


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
