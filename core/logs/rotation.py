"""Rotation: when a log file is put aside, what its new name is, and which old files are kept."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from .dates import date_text

_DATE = re.compile(r"%d(?:\{([^}]*)\})?(?:\{([^}]*)\})?")
_UNITS = (("sS", 1), ("m", 60), ("HkKha", 3600))  # the letters of a date, and the seconds in which they change
_COUNT = re.compile(r"%\d*i")


@dataclass(frozen=True, slots=True)
class Rotation:
    """A rule for putting a log file aside: beyond `size` bytes, or daily, or when the server starts.

    `pattern` is log4j's filePattern: `%d{dd-MMM}` is a date, `%i` a number, `.gz` compresses. `daily` means: each
    `every` of the smallest unit of that date, from minutes to years, days where it has none.
    """

    pattern: str
    size: int | None = 100 * 1024 * 1024
    daily: bool = True
    keep: int = 5
    every: int = 1
    at_start: bool = False

    def due(self, size: int, last: float, now: float) -> bool:
        """Return whether a file of `size` bytes, last written at `last`, must be put aside before a line of `now`."""
        if self.size is not None and size > self.size:
            return True
        return self.daily and size > 0 and self._period(last) != self._period(now)

    def _period(self, at: float) -> tuple[int, ...]:
        dates = "".join(found[1] or "dd" for found in _DATE.finditer(self.pattern))
        letters = re.sub(r"'[^']*'", "", dates) or "dd"
        moment = time.localtime(at)
        seconds = next((seconds for unit, seconds in _UNITS if any(letter in letters for letter in unit)), 0)
        if seconds:
            return (int((at + (moment.tm_gmtoff or 0)) // seconds) // self.every,)
        if any(letter in letters for letter in "dDEFu"):
            return (datetime.date(moment.tm_year, moment.tm_mon, moment.tm_mday).toordinal() // self.every,)
        if "M" in letters:
            return ((moment.tm_year * 12 + moment.tm_mon - 1) // self.every,)
        return (moment.tm_year // self.every,)

    def name(self, at: float, number: int) -> Path:
        """Return the `number`th name, from 1, for a file whose last line is of `at`, before it is compressed."""
        text = _DATE.sub(lambda found: date_text([found[1] or "yyyy-MM-dd", found[2] or ""])(at), self.pattern)
        return Path(_numbered(text, str(number)).removesuffix(".gz"))

    @property
    def packs(self) -> bool:
        return self.pattern.endswith(".gz")

    def free_name(self, at: float) -> Path:
        """Return the first name that no file has. Raises FileExistsError if there is none."""
        for number in range(1, 10_000):
            name = self.name(at, number)
            if not name.exists() and not _packed(name).exists():
                return name
        raise FileExistsError(f"no free name for {self.pattern}")

    def settle(self, aside: Path) -> None:
        """Compress the file that was put aside, and remove the oldest ones beyond `keep`."""
        with contextlib.suppress(OSError):
            if self.packs:
                _compress(aside)
            old = sorted(self._put_aside(), key=lambda path: path.stat().st_mtime, reverse=True)
            for path in old[self.keep :]:
                path.unlink(missing_ok=True)

    def _put_aside(self) -> set[Path]:
        folder, name = os.path.split(_DATE.sub("*", self.pattern).removesuffix(".gz"))
        shapes = {_numbered(name, "1"), _numbered(name, "*")}
        return {path for shape in shapes for end in ("", ".gz") for path in Path(folder).glob(shape + end)}


def _numbered(path: str, number: str) -> str:
    """Return `path` with the number in place of `%i`, or else before the suffix, from 2 on."""
    if _COUNT.search(path):
        return _COUNT.sub(number, path)
    if number == "1":
        return path
    end = ".gz" if path.endswith(".gz") else ""
    plain = Path(path.removesuffix(end))
    return str(plain.with_name(f"{plain.stem}-{number}{plain.suffix}{end}"))


def _packed(path: Path) -> Path:
    return path.with_name(f"{path.name}.gz")


def _compress(aside: Path) -> None:
    part = aside.with_name(f".{aside.name}.part")
    try:
        with aside.open("rb") as plain, gzip.open(part, "wb", compresslevel=1) as packed:
            shutil.copyfileobj(plain, packed, 1 << 20)
        shutil.copystat(aside, part)
        part.replace(_packed(aside))
        aside.unlink()
    finally:
        part.unlink(missing_ok=True)
