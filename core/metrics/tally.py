"""Tally: the sums of a model version's predictions and batches, for the Open Inference Protocol's statistics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """The sums since the version was registered. Times are in seconds.

    `queued` is how long the requests that succeeded have waited for a worker. `batches` were run, in which the handler
    took `handling`, and their workers `worked` in all.
    """

    succeeded: int = 0
    took: float = 0.0
    queued: float = 0.0
    failed: int = 0
    batches: int = 0
    requests: int = 0
    handling: float = 0.0
    worked: float = 0.0
