"""A whole setup played on one installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .play import Player
from .steps import Setup
from .subject import Subject


def played(setup: Setup, bin_folder: Path, version: str, home: Path, patience: float = 15.0) -> dict[str, Any]:
    """What each row of a setup shows on the server of `bin_folder`."""
    with Subject(bin_folder, version, setup, home) as subject:
        player = Player(subject, patience)
        try:
            for step in setup.before:
                player.step(step)
            return {row.name: player.play(row) for row in setup.rows}
        finally:
            player.close()
