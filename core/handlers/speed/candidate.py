"""A change that may make a model faster, which is tried by an Autotuner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

GAINS = 1.1  # speed-up of the largest batch from which on a candidate is kept, unless it says otherwise


@dataclass(frozen=True, slots=True)
class Candidate:
    """A change that may make a model faster. `take` applies it, and `leave` restores what was before; both may be
    called again. `prepare` is called once, before them: it makes what takes long to make.

    `name` and `otherwise` name the model with and without it in notes. `gain` is the speed-up of the largest batch from
    which on it is kept; 0 keeps it however fast it is. Answers of one that `moves` may differ by more than rounding.
    `least`, if given, has the candidate run for batches of so many rows and more only.
    """

    name: str
    otherwise: str
    take: Callable[[], Any]
    leave: Callable[[], Any]
    gain: float = GAINS
    prepare: Callable[[], Any] = lambda: None
    moves: bool = False
    least: Callable[[int], Any] | None = None
