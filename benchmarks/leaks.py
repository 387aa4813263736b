"""Finds leaks: readings of a process's memory and open files, and their slope over repetitions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

BYTES_EACH = 256.0  # bytes per repetition from which on growth is a leak, and not the allocator's noise
FILES_EACH = 0.001  # open files per repetition from which on they are a leak


def slope(counts: Sequence[float], readings: Sequence[float]) -> float:
    """Return by how much a reading grows per count, by least squares. Raises ValueError unless the counts differ."""
    middle, level = sum(counts) / len(counts), sum(readings) / len(readings)
    spread = sum((count - middle) ** 2 for count in counts)
    if not spread:
        raise ValueError("a slope needs two counts that differ")
    return sum((c - middle) * (r - level) for c, r in zip(counts, readings, strict=True)) / spread


@dataclass(slots=True)
class LeakMonitor:
    """A monitor that reads a process from time to time, and computes what each repetition of some work
    leaves behind.
    """

    process: psutil.Process
    most_bytes: float = BYTES_EACH
    counts: list[int] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def read(self, count: int) -> None:
        """Read the process after `count` repetitions."""
        self.counts.append(count)
        self.memory.append(self.process.memory_info().rss)
        self.files.append(self.process.num_fds())

    @property
    def bytes_each(self) -> float:
        """Return the bytes of memory that each repetition leaves behind."""
        return slope(self.counts, self.memory)

    @property
    def files_each(self) -> float:
        """Return the open files that each repetition leaves behind."""
        return slope(self.counts, self.files)

    @property
    def leaks(self) -> list[str]:
        """Return what leaks: a list with "memory", "files", both or neither."""
        found = ["memory"] if self.bytes_each > self.most_bytes else []
        return found + (["files"] if self.files_each > FILES_EACH else [])
