"""place: which GPU the next worker gets. Pure: what is free, promised and needed are arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .errors import GpuLoading, NoRoom
from .gpu import Gpu, Lease

# About one CUDA context: a smaller difference says nothing about the room for a model.
TOLERANCE = 512 << 20


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of the next worker on one GPU, in bytes: it is promised `need`, and can't run with less than `least`.

    `device_ids` are the indices among the visible GPUs that are allowed (None: all); `limit` allows only indices below
    it.
    """

    model: str = ""
    need: int = 0
    least: int = 0
    device_ids: Sequence[int] | None = None
    limit: int | None = None


def place(gpus: Sequence[Gpu], leases: Sequence[Lease], claim: Claim, headroom: int = 0) -> Gpu | None:
    """Return the GPU with the most room (bytes, less `headroom`); None if there is no GPU to choose from.

    GPUs within TOLERANCE of the best count as equal: of these the one with the fewest workers of this model wins, then
    with the fewest at all, then one that is loading nothing, then the least busy, then the lowest index. A GPU that is
    visible but doesn't answer, or is sick, is passed over.

    Raises NoRoom if no GPU has `claim.least` bytes, GpuLoading if the chosen one is loading another model, ValueError
    for device ids that don't exist or of which none can be used.
    """
    chosen = place_all(gpus, leases, claim, headroom)
    return chosen[0] if chosen else None


def place_all(
    gpus: Sequence[Gpu], leases: Sequence[Lease], claim: Claim, headroom: int = 0, count: int = 1
) -> tuple[Gpu, ...]:
    """Return `count` different GPUs, by index, for a worker that needs so many; `claim` is for each of them.

    Each is the one that `place` would choose of those that are left; () if there is no GPU to choose from. Raises as
    `place` does, and ValueError if there are fewer.
    """
    limit = claim.limit
    allowed = gpus if limit is None else [gpu for gpu in gpus if gpu.index < limit]
    if not allowed:
        return ()
    taken = _taken(leases, claim.model)
    rooms = _rooms(_usable(_chosen(allowed, claim)), taken, headroom)
    chosen: list[Gpu] = []
    while len(chosen) < count:
        if not rooms:
            raise ValueError(f"it needs {count} GPUs, and there are {len(chosen)} for it")
        best = _best(rooms, taken, claim.least)
        chosen.append(best)
        rooms = [each for each in rooms if each[1] is not best]
    return tuple(sorted(chosen, key=lambda gpu: gpu.index))


def room(gpu: Gpu, leases: Sequence[Lease], headroom: int) -> int:
    """Return the bytes of `gpu` that may still be promised; negative if too much is in use.

    A GPU of which the driver doesn't tell the memory (`total` 0) counts as endless.
    """
    ((space, _),) = _rooms([gpu], _taken(leases, ""), headroom)
    return space


# What the leases of one GPU come to: the bytes that are outstanding, and needed in all; the workers, those of the model
# that is placed, and those that load. A plain list, since a host has a thousand of them to look at for each placement.
_Taken: TypeAlias = list[int]
_NOTHING: _Taken = [0, 0, 0, 0, 0]


def _taken(leases: Sequence[Lease], model: str) -> dict[str, _Taken]:
    """Return what is taken of each GPU, by uuid."""
    taken: dict[str, _Taken] = {}
    for lease in leases:
        need, held = lease.need, lease.held
        outstanding = need - held if need > held else 0
        here = taken.get(lease.uuid)
        if here is None:
            taken[lease.uuid] = [outstanding, need, 1, lease.model == model, lease.loading]
        else:
            here[0] += outstanding
            here[1] += need
            here[2] += 1
            here[3] += lease.model == model
            here[4] += lease.loading
    return taken


def _rooms(gpus: Sequence[Gpu], taken: Mapping[str, _Taken], headroom: int) -> list[tuple[int, Gpu]]:
    """Return each GPU with the bytes that may still be promised."""
    rooms: list[tuple[int, Gpu]] = []
    for gpu in gpus:
        total, free = gpu.total, gpu.free
        if not total:
            rooms.append((1 << 62, gpu))
            continue
        here = taken.get(gpu.uuid)
        if here is not None:
            free -= here[0]
            # The second bound is the lower one while a worker has given memory back that it may take again.
            free = min(free, total - here[1])
        rooms.append((free - headroom, gpu))
    return rooms


def _best(rooms: Sequence[tuple[int, Gpu]], taken: Mapping[str, _Taken], least: int) -> Gpu:
    """Return the GPU that `place` chooses among those with their rooms. Raises NoRoom, GpuLoading."""
    most = max([space for space, _ in rooms])
    if most < least:
        raise NoRoom(least, [(gpu, space) for space, gpu in rooms])
    bar = max(most - TOLERANCE, least)
    ranks: list[
        tuple[int, int, int, float, int, Gpu]
    ] = []  # the best of equal GPUs is the smallest; no two have one index
    for space, gpu in rooms:
        if space >= bar:
            _, _, workers, of_model, loading = taken.get(gpu.uuid, _NOTHING)
            busy = (gpu.utilization or 0.0) // 25  # in quarters: a difference of a few percent says nothing
            ranks.append((of_model, workers, loading > 0, busy, gpu.index, gpu))
    _, _, loads, _, _, best = min(ranks)
    if loads:
        raise GpuLoading(best.index)
    return best


def _usable(gpus: Sequence[Gpu]) -> list[Gpu]:
    """Return the GPUs that are not sick. Raises ValueError if all are."""
    well = [gpu for gpu in gpus if not gpu.sick]
    if not well:
        raise ValueError("; ".join(f"GPU {gpu.index} ({gpu.uuid}) can't be used: {gpu.sick}" for gpu in gpus))
    return well


def _chosen(gpus: Sequence[Gpu], claim: Claim) -> Sequence[Gpu]:
    """Return the GPUs that the claim's device ids name. Raises ValueError if one doesn't exist, or none answers."""
    if not claim.device_ids:
        return gpus
    visible = max(max(gpu.visible, gpu.index + 1) for gpu in gpus)
    if claim.limit is not None:
        visible = min(visible, claim.limit)
    there = ", ".join(str(gpu.index) for gpu in gpus)
    for device in claim.device_ids:
        if not 0 <= device < visible:
            raise ValueError(f"device id {device} does not exist; there are: {there}")
    named = frozenset(claim.device_ids)
    chosen = [gpu for gpu in gpus if gpu.index in named]
    if not chosen:
        raise ValueError(f"none of the device ids {list(claim.device_ids)} answers; those that do: {there}")
    return chosen
