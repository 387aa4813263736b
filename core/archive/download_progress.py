"""DownloadProgress: how much of a download has come. The downloading thread changes it; any other may read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO


@dataclass(slots=True)
class DownloadProgress:
    """The progress of one download: `count` of `total` bytes; `total` is None while it is unknown."""

    url: str
    count: int = 0
    total: int | None = None


class CountedFile:
    """A file to download to, which counts the bytes that are written to it."""

    def __init__(self, file: IO[bytes], progress: DownloadProgress) -> None:
        self._file = file
        self._progress = progress

    def expect(self, total: int | None) -> None:
        self._progress.total = total

    def write(self, data: bytes, /) -> int:
        written = self._file.write(data)
        self._progress.count += written
        return written

    def begin_again(self) -> None:
        """Empty the file, and its count, for another attempt."""
        self._file.seek(0)
        self._file.truncate()
        self._progress.count, self._progress.total = 0, None
