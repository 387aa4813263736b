"""Op: one computation in three versions that agree, and the cases that check it. Imports torch.

Every version takes its inputs by position and writes into `out`, whose type and layout are what was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Protocol

import torch
from torch import Tensor

Implementation = Callable[..., None]


class Case(Protocol):
    """A call that every version must answer alike. Its tensors are on the CPU, and the same each time."""

    @property
    def name(self) -> str:
        """The name of the case in tests and benchmarks."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The type of the result, which chooses the tolerance."""
        ...

    def inputs(self) -> tuple[Any, ...]:
        """Return the arguments, by position."""
        ...

    def output(self) -> Tensor:
        """Return a tensor to write the result into; its values mean nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A bound on how far a value may be off: `absolute`, plus `relative` times the reference's value."""

    absolute: float
    relative: float


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound on what the kernel that `case` launches uses on a GPU. It is checked on the compiled code, on no GPU."""

    case: Case
    registers: int
    """per thread, at most"""
    shared: int
    """bytes per program, at most"""
    store: int
    """bits of the widest store, at least"""


@dataclass(frozen=True, slots=True)
class Op:
    """An operation with a plain PyTorch `reference`, a `fused` Triton kernel and a fast `cpu` path.

    Each of these is called as `version(*inputs, out=out)`.
    """

    name: str
    reference: Implementation
    fused: Implementation
    cpu: Implementation
    supports: Callable[..., bool]
    """Return whether `fused` takes these inputs and this `out`; called with CUDA tensors only."""
    tolerance: Mapping[torch.dtype, Tolerance]
    cases: tuple[Case, ...]
    budgets: tuple[Budget, ...]
    cpu_tolerance: Mapping[torch.dtype, Tolerance] | None = None
    """The tolerance of `cpu`, if it is another one than that of `fused`."""

    def __call__(self, *inputs: Any, out: Tensor) -> Tensor:
        """Compute `out` from `inputs`, on the device they are on, and return it."""
        version = self.choose(*inputs, out=out)
        if out.is_cuda:
            with torch.cuda.device(out.device):  # Triton launches on the current device, whatever its arguments say
                version(*inputs, out=out)
        else:
            version(*inputs, out=out)
        return out

    def choose(self, *inputs: Any, out: Tensor) -> Implementation:
        """Return the version to run: `fused` on CUDA where it applies, `cpu` on the CPU, `reference` otherwise."""
        if out.device.type == "cpu":
            return self.cpu
        if out.is_cuda and runs_triton(out.device) and self.supports(*inputs, out=out):
            return self.fused
        return self.reference


@cache
def runs_triton(device: torch.device) -> bool:
    """Return whether triton is installed and compiles for the CUDA `device` (compute capability 8.0: it has bf16)."""
    return find_spec("triton") is not None and torch.cuda.get_device_capability(device) >= (8, 0)
