"""Issue: one thing that is wrong, or that somebody should know, with its place."""

from __future__ import annotations

from dataclasses import dataclass

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True, slots=True)
class Issue:
    """An error will fail; a warning may, or is dangerous. `file` is below the model's folder; line 0: all of it."""

    level: str
    file: str
    line: int
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{self.level}: {place}: {self.text}"
