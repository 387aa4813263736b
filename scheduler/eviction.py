"""victims: which idle models make room for a worker that finds none. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from .errors import GpuLoading, NoRoom
from .gpu import Gpu, Lease
from .placement import Claim, place_all


@dataclass(frozen=True, slots=True)
class Resident:
    """A model whose `workers` may be ended if their memory is needed; `used` is the time (s) of its latest request."""

    name: str
    workers: frozenset[str]
    used: float


def victims(
    gpus: Sequence[Gpu],
    leases: Sequence[Lease],
    claim: Claim,
    headroom: int,
    count: int,
    residents: Iterable[Resident],
) -> list[Resident] | None:
    """Return the models to end so that `place_all` finds room for `claim` on `count` GPUs.

    Those that were used longest ago go first, and no more of them than it takes. None if ending all of them would not
    make enough room, or if what is wrong is not the room.
    """

    def fits(chosen: Collection[Resident]) -> bool:
        ended = frozenset(worker for each in chosen for worker in each.workers)
        try:
            place_all(*_without(ended, gpus, leases), claim, headroom, count)
        except GpuLoading:
            return True  # there is room, once the other model has loaded
        except (NoRoom, ValueError):
            return False
        return True

    waiting = sorted((each for each in residents if each.workers), key=lambda each: each.used)
    chosen: list[Resident] = []
    while not fits(chosen):
        if not waiting:
            return None
        chosen.append(waiting.pop(0))
    # An earlier one may be superfluous now. The last one is needed, or the loop would have ended before it.
    for each in reversed(chosen[:-1]):
        rest = [other for other in chosen if other is not each]
        if fits(rest):
            chosen = rest
    return chosen


def _without(ended: frozenset[str], gpus: Sequence[Gpu], leases: Sequence[Lease]) -> tuple[list[Gpu], list[Lease]]:
    """Return the GPUs and leases as they would be without these workers: what they hold is free, their leases end."""
    freed: dict[str, int] = {}
    for lease in leases:
        if lease.worker in ended:
            freed[lease.uuid] = freed.get(lease.uuid, 0) + lease.held
    left = [lease for lease in leases if lease.worker not in ended]
    return [replace(gpu, free=min(gpu.total, gpu.free + freed.get(gpu.uuid, 0))) for gpu in gpus], left
