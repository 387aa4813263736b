"""Turns: how work on a loaded model goes on beside the requests that come for it."""

from __future__ import annotations

from typing import Final, Protocol


class Turns(Protocol):
    """An interface for whoever reads the requests of this process. It is asked before each step of such work."""

    def wanted(self) -> bool:
        """Return whether `give_way` has to be called before the next step."""
        ...

    def give_way(self, seconds: float = 0.0) -> None:
        """Answer requests for at least so many seconds, and until there is time for a step. Raises if none come any
        more.
        """
        ...

    def tell(self, notes: dict[str, str]) -> None:
        """Tell what was chosen, by subject."""
        ...


class Later(Protocol):
    """An interface for work on a loaded model that is left for when it serves."""

    def run(self, turns: Turns) -> None:
        """Do it, in the turns that requests leave. Raises what `turns` raises, else nothing."""
        ...


class _NoRequests:
    """The turns of a process in which no requests come."""

    def wanted(self) -> bool:
        return False

    def give_way(self, seconds: float = 0.0) -> None:
        """Return at once."""

    def tell(self, notes: dict[str, str]) -> None:
        """Tell nobody."""


NO_REQUESTS: Final[Turns] = _NoRequests()
