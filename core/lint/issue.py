"""Issue: a fault or a remark, with its place."""

from __future__ import annotations

from dataclasses import dataclass

ERROR, WARNING = "error", "warning"


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue in an archive. An error will fail; a warning may fail, or is dangerous.

    `file` is relative to the model's folder; line 0 is the whole file.
    """

    level: str
    file: str
    line: int
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{self.level}: {place}: {self.text}"
