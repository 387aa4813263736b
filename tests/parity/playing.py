"""A whole setup played on one installation."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .play import Player
from .steps import Setup
from .subject import NotStartedError, Subject

_HURRY = 1.0  # seconds
_HURRIED_START = 6.0


def played(
    setup: Setup, bin_folder: Path, version: str, home: Path, patience: float = 60.0, missing: Collection[str] = ()
) -> dict[str, Any]:
    """What each row of a setup shows on the server of `bin_folder`. Nobody waits long for the rows that are `missing`."""
    try:
        return _played(Subject(bin_folder, version, setup, home), setup, patience, missing)
    except NotStartedError as error:
        print(f"{setup.name} did not start: {error}", file=sys.stderr)
        return {row.name: [{"none": "the server did not start"}] for row in setup.rows}


def _played(server: Subject, setup: Setup, patience: float, missing: Collection[str]) -> dict[str, Any]:
    with server as subject:
        hopeless = all(row.name in missing for row in setup.rows)
        player = Player(subject, _HURRIED_START if hopeless else patience)
        try:
            for step in setup.before:
                player.step(step)
            seen = {}
            for row in setup.rows:
                player.patience = _HURRY if row.name in missing else patience
                seen[row.name] = player.play(row)
            return seen
        finally:
            player.close()
