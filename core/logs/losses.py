"""Losses: what the log's destinations did not take, and what the log itself says of it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

from .files import Console, LogFile

METRIC = "torchserve_log_lines_lost_total"


class Losses:
    """News of destinations that fail, and work again. `voices` are those of the lines that tell it.

    A failure is told at once, for the voices that still work, and its end when all voices work: each once.
    """

    def __init__(self, destinations: Collection[Console | LogFile], voices: Collection[Console | LogFile]) -> None:
        self._destinations = destinations
        self._voices = voices
        self._failing: set[Console | LogFile] = set()  # those whose failure has been told
        self._told: dict[Console | LogFile, int] = {}  # how many lost lines have been told, by destination

    @property
    def lost(self) -> int:
        """How many lines were not taken so far. May be read from any thread."""
        return sum(each.lost for each in self._destinations)

    @property
    def waiting(self) -> bool:
        """Whether there is news."""
        return any(True for _ in self._found())

    def news(self) -> list[tuple[int, str]]:
        """Return level and text of each piece of news, and forget it."""
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
