"""Losses: which log lines could not be written, and what the log itself says about it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

from .files import Console, LogFile

METRIC = "torchserve_log_lines_lost_total"


class Losses:
    """The reports about destinations that fail, and that work again.

    `voices` are the destinations of the reports. A failure is reported at once to the voices that still work; its end
    is reported when all voices work. Each is reported once.
    """

    def __init__(self, destinations: Collection[Console | LogFile], voices: Collection[Console | LogFile]) -> None:
        self._destinations = destinations
        self._voices = voices
        self._failing: set[Console | LogFile] = set()  # whose failure has been reported
        self._told: dict[Console | LogFile, int] = {}  # lost lines that have been reported, by destination

    @property
    def lost(self) -> int:
        """The number of lines that were not written so far. May be read from any thread."""
        return sum(each.lost for each in self._destinations)

    @property
    def waiting(self) -> bool:
        """Whether there is anything to report."""
        return any(True for _ in self._found())

    def news(self) -> list[tuple[int, str]]:
        """Return level and text of each report that is due, and mark them as reported."""
        texts: list[tuple[int, str]] = []
        for each in list(self._found()):
            if each.cause:
                self._failing.add(each)
                text = f"{each.name} takes no lines: {each.cause}. Lines that are lost are counted in {METRIC}."
                texts.append((logging.ERROR, text))
            else:
                self._failing.discard(each)
                missing, self._told[each] = each.lost - self._told.get(each, 0), each.lost
                texts.append((logging.WARNING, f"{each.name} takes lines again; {missing} lines are missing in it"))
        return texts

    def _found(self) -> Iterator[Console | LogFile]:
        mute = any(voice.cause for voice in self._voices)
        for each in self._destinations:
            if each.cause:
                if each not in self._failing:
                    yield each
            elif each.lost > self._told.get(each, 0) and not mute:
                yield each
