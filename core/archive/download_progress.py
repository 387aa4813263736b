"""Received: how far a download is: changed by the thread that downloads, read by whoever wants to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO


@dataclass(slots=True)
class Received:
    """`count` bytes of `total`, which is None until it is known, or if the source does not tell."""

    url: str
    count: int = 0
    total: int | None = None


class Receiving:
    """A file that is written to, and counted."""

    def __init__(self, file: IO[bytes], received: Received) -> None:
        self._file = file
        self._received = received

    def expect(self, total: int | None) -> None:
        self._received.total = total

    def write(self, data: bytes, /) -> int:
        written = self._file.write(data)
        self._received.count += written
        return written

    def begin_again(self) -> None:
        """Empty the file for another attempt."""
        self._file.seek(0)
        self._file.truncate()
        self._received.count, self._received.total = 0, None
