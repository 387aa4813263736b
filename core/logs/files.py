"""The destinations of log lines. Only the writer's thread uses them, and no failure of a disk is raised."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from collections.abc import Sequence
from io import FileIO
from pathlib import Path
from typing import TextIO

from ..trusted_file import open_appending
from .plan import Appender
from .rotation import Rotation


class Console:
    """A stream that the process was started with. `lost` and `cause` are as LogFile's.

    Once the stream can't be read any more, since the terminal is closed or a pipe's reader has ended, lines are dropped
    silently: a server in the background outlives its terminal.
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
        """Do nothing: the stream belongs to the process."""


class LogFile:
    """A log file, put aside as its Rotation says, or by others: before each write the path is looked at.

    If logrotate has renamed the file, the next lines go to a new one at the path; if it has copied and cut it off
    (copytruncate), they go to its new end, as the file is opened to append.

    `lost` counts the lines that could not be written; `cause` is why the latest ones could not, "" if they were. The
    file is unbuffered: a buffer would write the lines of a failed write later, though they were counted as lost.
    """

    def __init__(self, path: Path, rotation: Rotation | None = None) -> None:
        self._path = path
        self._rotation = rotation
        self._file: FileIO | None = None
        self._identity = (0, 0)  # device and inode of the open file
        self._size = 0
        self._last = 0.0  # when the file was last written, in seconds since the epoch
        self._torn = False  # whether the file ends in an incomplete line
        self.name = str(path)
        self.lost = 0
        self.cause = ""

    def create(self) -> None:
        """Create the file before its first line, as TorchServe does, or after others have moved it away.

        Failures are left to `write` to find.
        """
        with contextlib.suppress(OSError):
            if self._file is None:
                file = self._open()
                if self._rotation is not None and self._rotation.at_start and self._size:
                    self._put_aside(file, self._rotation, time.time())
            else:
                self._follow(self._file)

    def write(self, texts: Sequence[str], now: float) -> None:
        """Append `texts`, each a line with all that belongs to it; `now` is seconds since the epoch."""
        begin = b"\n" if self._torn else b""
        text = _encoded("".join(texts))
        taken = 0
        try:
            file = self._open() if self._file is None else self._follow(self._file)
            if self._rotation is not None and self._rotation.due(self._size, self._last, now):
                file = self._put_aside(file, self._rotation, now)
            begin = b"\n" if self._torn else b""  # another file begins with a line of its own
            data = memoryview(begin + text)
            while taken < len(data):  # on a nearly full disk a write is short, and the next one raises
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
        """Count the texts that are not within the first `taken` bytes, and close the file until the next lines."""
        whole, end = 0, 0
        for size in (len(_encoded(text)) for text in texts):
            if end + size > taken:
                break
            whole, end = whole + 1, end + size
        if taken >= 0:  # else not even the line break after an incomplete line was written
            self._torn = taken > end
        self.lost += len(texts) - whole
        self.cause = _cause(error)
        self.close()

    def _open(self) -> FileIO:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        before, file = self._file, FileIO(open_appending(self._path), "ab")
        found = os.fstat(file.fileno())
        if before is not None:
            before.close()
            _move_output(self._identity, file)
            self._torn = False
        self._file = file
        self._identity = (found.st_dev, found.st_ino)
        self._size, self._last = found.st_size, found.st_mtime
        return file

    def _follow(self, file: FileIO) -> FileIO:
        """Return the file that is at the path now, or `file` if none can be opened there."""
        try:
            found = self._path.stat()
            if (found.st_dev, found.st_ino) == self._identity:
                if found.st_size < self._size:
                    self._size, self._torn = found.st_size, False
                return file
        except OSError:
            pass  # it is gone, and made anew
        try:
            return self._open()
        except OSError:
            return file

    def _put_aside(self, file: FileIO, rotation: Rotation, now: float) -> FileIO:
        try:
            aside = rotation.free_name(self._last)
            aside.parent.mkdir(parents=True, exist_ok=True)
            self._path.replace(aside)
        except OSError:
            self._size, self._last = 0, now  # the file is continued, and put aside when it is due again
            return file
        # In a thread of its own, since compressing takes seconds and the next lines must not wait.
        threading.Thread(target=rotation.settle, args=(aside,), name="log-rotation", daemon=True).start()
        try:
            return self._open()
        except OSError:
            self.close()  # what is put aside takes no further lines
            raise


def _move_output(before: tuple[int, int], file: FileIO) -> None:
    """Have what libraries print go to `file`, too, if this process was started with its output in the file before."""
    for descriptor in (1, 2):
        with contextlib.suppress(OSError):
            found = os.fstat(descriptor)
            if (found.st_dev, found.st_ino) == before:
                os.dup2(file.fileno(), descriptor)


def destination(appender: Appender) -> Console | LogFile:
    """Return what writes the text of `appender`."""
    if appender.path is None:
        return Console(sys.stderr if appender.errors else sys.stdout)
    return LogFile(appender.path, appender.rotation)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
