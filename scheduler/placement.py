"""place: which GPU the next worker gets. Pure: what is free and what is assigned already are arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # at run time it would load pynvml
    from .devices import Gpu

# About one CUDA context: a smaller difference says nothing about the room for a model.
TOLERANCE = 512 << 20


def place(
    gpus: Sequence[Gpu],
    assigned: Mapping[str, int],
    *,
    device_ids: Sequence[int] | None = None,
    limit: int | None = None,
) -> Gpu | None:
    """The GPU with the most free memory; None when there is none to choose from.

    GPUs within TOLERANCE (bytes) of the best count as equal: the one with the fewest workers `assigned` (by uuid) wins,
    then the lowest index, which among idle GPUs is round robin. `device_ids` are indices among the visible GPUs;
    `limit` leaves only those with an index below it. An id of a GPU that is visible but does not answer is passed over.
    Raises ValueError for ids that don't exist, or of which none answers.
    """
    if limit is not None:
        gpus = [gpu for gpu in gpus if gpu.index < limit]
    if not gpus:
        return None
    if device_ids:
        gpus = _chosen(gpus, device_ids, limit)
    enough = max(gpu.free for gpu in gpus) - TOLERANCE
    return min(
        (gpu for gpu in gpus if gpu.free >= enough),
        key=lambda gpu: (assigned.get(gpu.uuid, 0), gpu.index),
    )


def _chosen(gpus: Sequence[Gpu], device_ids: Sequence[int], limit: int | None) -> list[Gpu]:
    visible = max(max(gpu.visible, gpu.index + 1) for gpu in gpus)
    if limit is not None:
        visible = min(visible, limit)
    there = ", ".join(str(gpu.index) for gpu in gpus)
    for device in device_ids:
        if not 0 <= device < visible:
            raise ValueError(f"device id {device} does not exist; there are: {there}")
    chosen = [gpu for gpu in gpus if gpu.index in device_ids]
    if not chosen:
        raise ValueError(f"none of the device ids {list(device_ids)} answers; those that do: {there}")
    return chosen
