"""Tally: the sums of a model version's predictions and batches, for the Open Inference Protocol's statistics."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class BatchTally:
    """The sums of the batches of one size: how many, and the seconds in the handler and in the worker in all."""

    batches: int = 0
    handling: float = 0.0
    worked: float = 0.0


@dataclass(slots=True)
class Tally:
    """The sums since the version was registered. Times are in seconds.

    `queued` is how long the requests that succeeded have waited for a worker. `batches` were run, in which the handler
    took `handling`, and their workers `worked` in all; `sizes` has the same by the size of the batch. The last of them
    came back at `last`, in seconds since the epoch.
    """

    succeeded: int = 0
    took: float = 0.0
    queued: float = 0.0
    failed: int = 0
    batches: int = 0
    requests: int = 0
    handling: float = 0.0
    worked: float = 0.0
    last: float = 0.0
    sizes: dict[int, BatchTally] = field(default_factory=dict[int, BatchTally])

    def batch(self, size: int, took: float, handler: float, now: float) -> None:
        """Count a batch that came back at `now`, `took` seconds after its worker got it, `handler` in the handler."""
        self.batches += 1
        self.requests += size
        self.worked += took
        self.handling += handler
        self.last = now
        alike = self.sizes.get(size)
        if alike is None:
            alike = self.sizes[size] = BatchTally()
        alike.batches += 1
        alike.worked += took
        alike.handling += handler
