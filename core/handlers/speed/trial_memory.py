"""TrialMemory: what trials of a model's speed have shown on this machine, kept for other workers and the next start.

There is a file for each model, named by a key of the model's files and of the machine, and one lock for all: so one
worker of a machine tries at a time, undisturbed by the others, and those of its model then take what it has found.

A subject that is being tried is written down before it begins. A worker that is killed in the middle leaves that line,
and the lock to the next one: what two workers didn't survive is not tried a third time.

A file that isn't ours, is torn, too long, too old or from the future says nothing. The worst that it could say is which
of two ways of computing the same answers is taken, and the answers are compared all the same.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from ...trusted_file import check_folder, open_trusted, read_trusted, replace_file

log = logging.getLogger(__name__)

MOST_FILES = 500
LONGEST = 1 << 14  # bytes of a file
MOST_AGE = 30 * 86_400.0  # seconds
MOST_ENDS = 2  # workers that may end while they try a subject, before it is left alone
_NOTE = 500  # characters


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """The outcome of a trial: whether the candidate was taken, and a note that says why or why not.

    It runs for batches of `least` rows and more.
    """

    taken: bool
    note: str
    least: int = 1


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a file. `begun` counts the workers that have begun to try a subject and not ended it."""

    key: str
    at: float
    outcomes: dict[str, Outcome] = {}
    begun: dict[str, int] = {}


class TrialMemory:
    """The memory of one model's trials. Without a folder that can be trusted nothing is kept, and each worker tries.

    `clock` is Unix time, replaced in tests.
    """

    def __init__(self, folder: Path, key: str, clock: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._path = folder / f"{key}.json"
        self._key = key
        self._clock = clock
        self._lock = -1
        self._works = True
        self._entry = _Entry(key, 0.0)

    def claim(self) -> bool:
        """Return whether this worker may try now: no other one does. What is known is read then."""
        if self._works and self._lock < 0:
            try:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                check_folder(self._folder)
                self._lock = open_trusted(self._folder / "lock", os.O_RDWR | os.O_CREAT)
            except OSError as error:
                log.info("What trials of the model show is not remembered: %s", error)
                self._works = False
        if self._works:
            try:
                fcntl.lockf(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            except OSError:  # a file system without locks
                self._works = False
        self._entry = self._read() or _Entry(self._key, self._clock())
        return True

    def release(self) -> None:
        """Let another worker try."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    @property
    def outcomes(self) -> Mapping[str, Outcome]:
        """What is known, by subject."""
        return self._entry.outcomes

    def deaths(self, subject: str) -> int:
        """Return how many workers have ended while they tried this."""
        return self._entry.begun.get(subject, 0)

    def begin(self, subject: str) -> None:
        """Write down that this is being tried."""
        self._write(begun={**self._entry.begun, subject: self.deaths(subject) + 1})

    def stop(self, subject: str) -> None:
        """Write down that this is not being tried any more, without an outcome."""
        self._write(begun={**self._entry.begun, subject: max(0, self.deaths(subject) - 1)})

    def remember(self, subject: str, outcome: Outcome) -> None:
        """Keep an outcome."""
        kept = Outcome(outcome.taken, outcome.note[:_NOTE], outcome.least)
        begun = {name: count for name, count in self._entry.begun.items() if name != subject}
        self._write(begun=begun, outcomes={**self._entry.outcomes, subject: kept})

    def _write(self, *, begun: dict[str, int], outcomes: dict[str, Outcome] | None = None) -> None:
        known = self._entry.outcomes if outcomes is None else outcomes
        self._entry = _Entry(self._key, self._clock(), known, begun)
        if not self._works:
            return
        try:
            if not self._path.exists():
                self._make_room()
            replace_file(self._path, msgspec.json.encode(self._entry))
        except OSError as error:
            log.info("What trials of the model show is not remembered: %s", error)
            self._works = False

    def _read(self) -> _Entry | None:
        """Return what the file says, None if there is none that counts."""
        try:
            entry = msgspec.json.decode(read_trusted(self._path, LONGEST), type=_Entry)
        except (OSError, msgspec.MsgspecError, ValueError):
            return None
        age = self._clock() - entry.at
        return entry if entry.key == self._key and 0.0 <= age <= MOST_AGE else None

    def _make_room(self) -> None:
        """Delete the files that were written the longest ago, so that there are fewer than MOST_FILES."""
        dated: list[tuple[float, Path]] = []
        for path in self._folder.glob("*.json"):
            with contextlib.suppress(OSError):
                dated.append((path.lstat().st_mtime, path))
        for _, path in sorted(dated)[: max(0, len(dated) - MOST_FILES + 1)]:
            with contextlib.suppress(OSError):
                path.unlink()
