"""Does a process grow with what it does? Readings of its memory and its open files, and their slope."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

BYTES_EACH = 256.0  # more of resident memory for each repetition is a leak; less is the allocator's wandering
FILES_EACH = 0.001  # one descriptor in a thousand repetitions


def slope(counts: Sequence[float], readings: Sequence[float]) -> float:
    """By how much a reading grows for each one of `counts`: least squares. ValueError unless the counts differ."""
    middle, level = sum(counts) / len(counts), sum(readings) / len(readings)
    spread = sum((count - middle) ** 2 for count in counts)
    if not spread:
        raise ValueError("a slope needs two counts that differ")
    return sum((c - middle) * (r - level) for c, r in zip(counts, readings, strict=True)) / spread


@dataclass(slots=True)
class Watch:
    """Reads a process now and then, and says how much each repetition of what it is asked costs it for good."""

    process: psutil.Process
    most_bytes: float = BYTES_EACH
    counts: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def read(self, count: int) -> None:
        """Look at it after `count` repetitions."""
        self.counts.append(count)
        self.memory.append(self.process.memory_info().rss)
        self.files.append(self.process.num_fds())

    @property
    def bytes_each(self) -> float:
        return slope(self.counts, self.memory)

    @property
    def files_each(self) -> float:
        return slope(self.counts, self.files)

    @property
    def leaks(self) -> list[str]:
        """What grows: nothing, memory, files."""
        found = ["memory"] if self.bytes_each > self.most_bytes else []
        return found + (["files"] if self.files_each > FILES_EACH else [])
