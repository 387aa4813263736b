"""place: which GPU the next worker gets. Pure: what is free, promised and needed are arguments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

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
    gpus = [gpu for gpu in gpus if claim.limit is None or gpu.index < claim.limit]
    if not gpus:
        return None
    gpus = _usable(_chosen(gpus, claim))
    here: dict[str, list[Lease]] = {}
    for lease in leases:
        here.setdefault(lease.uuid, []).append(lease)
    rooms = {gpu.uuid: room(gpu, here.get(gpu.uuid, ()), headroom) for gpu in gpus}
    most = max(rooms.values())
    if most < claim.least:
        raise NoRoom(claim.least, [(gpu, rooms[gpu.uuid]) for gpu in gpus])
    best = min(
        (gpu for gpu in gpus if rooms[gpu.uuid] >= max(most - TOLERANCE, claim.least)), key=_preference(leases, claim)
    )
    if any(lease.loading and lease.uuid == best.uuid for lease in leases):
        raise GpuLoading(best.index)
    return best


def place_all(
    gpus: Sequence[Gpu], leases: Sequence[Lease], claim: Claim, headroom: int = 0, count: int = 1
) -> tuple[Gpu, ...]:
    """Return `count` different GPUs, by index, for a worker that needs so many; `claim` is for each of them.

    Each is the one that `place` would choose of those that are left; () if there is no GPU to choose from. Raises as
    `place` does, and ValueError if there are fewer.
    """
    chosen: list[Gpu] = []
    allowed = {gpu.index for gpu in gpus if claim.limit is None or gpu.index < claim.limit}
    ids = claim.device_ids
    while len(chosen) < count:
        gpu = place(gpus, leases, replace(claim, device_ids=ids), headroom)
        if gpu is None:
            return ()
        chosen.append(gpu)
        ids = [index for index in claim.device_ids or sorted(allowed) if index not in {each.index for each in chosen}]
        if not ids and len(chosen) < count:
            raise ValueError(f"it needs {count} GPUs, and there are {len(chosen)} for it")
    return tuple(sorted(chosen, key=lambda gpu: gpu.index))


def room(gpu: Gpu, leases: Sequence[Lease], headroom: int) -> int:
    """Return the bytes of `gpu` that may still be promised; negative if too much is in use.

    A GPU of which the driver doesn't tell the memory (`total` 0) counts as endless.
    """
    if not gpu.total:
        return 1 << 62
    here = [lease for lease in leases if lease.uuid == gpu.uuid]
    # The second bound is the lower one while a worker has given memory back that it may take again.
    free = min(gpu.free - sum(lease.outstanding for lease in here), gpu.total - sum(lease.need for lease in here))
    return free - headroom


def _preference(leases: Sequence[Lease], claim: Claim) -> Callable[[Gpu], tuple[float, ...]]:
    """Return a key by which the best of equal GPUs is the smallest."""
    workers = Counter(lease.uuid for lease in leases)
    of_model = Counter(lease.uuid for lease in leases if lease.model == claim.model)
    loading = {lease.uuid for lease in leases if lease.loading}

    def rank(gpu: Gpu) -> tuple[float, ...]:
        busy = (gpu.utilization or 0.0) // 25  # in quarters: a difference of a few percent says nothing
        return of_model[gpu.uuid], workers[gpu.uuid], gpu.uuid in loading, busy, gpu.index

    return rank


def _usable(gpus: list[Gpu]) -> list[Gpu]:
    """Return the GPUs that are not sick. Raises ValueError if all are."""
    well = [gpu for gpu in gpus if not gpu.sick]
    if not well:
        raise ValueError("; ".join(f"GPU {gpu.index} ({gpu.uuid}) can't be used: {gpu.sick}" for gpu in gpus))
    return well


def _chosen(gpus: list[Gpu], claim: Claim) -> list[Gpu]:
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
    chosen = [gpu for gpu in gpus if gpu.index in claim.device_ids]
    if not chosen:
        raise ValueError(f"none of the device ids {list(claim.device_ids)} answers; those that do: {there}")
    return chosen
