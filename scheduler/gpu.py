"""Gpu: the state of one GPU or MIG instance at one moment; Lease: memory of it that is promised to a worker. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# NVIDIA's catalogue of XIDs: those after which the GPU needs a reset or a repair. An application's own faults (13, 31,
# 43, 45, 68, ...) say nothing of the GPU, and 63 and 94 tell of an error that was contained.
FATAL_XIDS = {
    48: "uncorrectable memory error",
    64: "memory page can't be retired",
    74: "NVLink error",
    79: "fallen off the bus",
    95: "uncontained memory error",
    119: "GPU system processor does not answer",
    120: "GPU system processor failed",
}


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU, or a MIG instance, at one moment.

    `index` is its place among the `visible` GPUs, counting those that don't answer. A worker is tied to the GPU by
    CUDA_VISIBLE_DEVICES=`uuid`: NVML's order and CUDA's may differ, and both may change at a boot. `total` and `free`
    are bytes, 0 if the driver doesn't say (memory shared with the CPU). `utilization` (percent) and `ecc_errors`
    (uncorrected, since the driver was loaded) are None if the driver doesn't say. `board` is the uuid of the GPU that a
    MIG instance is part of, or the GPU's own. `processes` maps pids of the host to bytes. `sick` says why the GPU must
    not get a worker; "" if it may.
    """

    index: int
    uuid: str
    name: str
    total: int
    free: int
    visible: int = 0
    utilization: float | None = None
    board: str = ""
    ecc_errors: int | None = None
    processes: Mapping[int, int] = field(default_factory=dict[int, int])
    sick: str = ""


@dataclass(frozen=True, slots=True)
class Lease:
    """A promise of `need` bytes of a GPU to one worker of `model`; the driver counts `held` of them as used already."""

    uuid: str
    worker: str
    model: str
    need: int
    held: int = 0
    loading: bool = True
