"""Op: one computation in three versions that agree, and the cases that prove it. Imports torch.

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
    """One call that every version must answer alike. Its tensors are on the CPU, and the same each time."""

    @property
    def name(self) -> str: ...

    @property
    def dtype(self) -> torch.dtype:
        """The result's, which chooses the tolerance."""
        ...

    def inputs(self) -> tuple[Any, ...]:
        """The arguments by position."""
        ...

    def output(self) -> Tensor:
        """A tensor to write the result into; its values mean nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A value may be off by `absolute`, plus `relative` times the reference's value."""

    absolute: float
    relative: float


@dataclass(frozen=True, slots=True)
class Budget:
    """What the kernel that `case` launches may use on a GPU: checked on the compiled code, so no GPU is needed."""

    case: Case
    registers: int
    """per thread, at most"""
    shared: int
    """bytes per program, at most"""
    store: int
    """bits of the widest store, at least"""


@dataclass(frozen=True, slots=True)
class Op:
    """A plain PyTorch `reference`, a `fused` Triton kernel, and a fast `cpu` path: `version(*inputs, out=out)`."""

    name: str
    reference: Implementation
    fused: Implementation
    cpu: Implementation
    supports: Callable[..., bool]
    """Does `fused` take these inputs and this `out`? Asked with the versions' own arguments, of CUDA tensors only."""
    tolerance: Mapping[torch.dtype, Tolerance]
    cases: tuple[Case, ...]
    budgets: tuple[Budget, ...]
    cpu_tolerance: Mapping[torch.dtype, Tolerance] | None = None
    """For `cpu` alone, where it is allowed more than the others."""

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
        """`fused` on CUDA where it applies, `cpu` on the CPU, `reference` for all else."""
        if out.device.type == "cpu":
            return self.cpu
        if out.is_cuda and runs_triton(out.device) and self.supports(*inputs, out=out):
            return self.fused
        return self.reference


@cache
def runs_triton(device: torch.device) -> bool:
    """Is triton installed, and is the CUDA `device` one it compiles for (compute capability 8.0, which has bf16)?"""
    return find_spec("triton") is not None and torch.cuda.get_device_capability(device) >= (8, 0)
