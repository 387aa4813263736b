"""Does one version of an op answer a case as the reference does, and touch nothing else? The same on every device."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from torchserve.kernels.op import Case, Implementation, Op, Tolerance


class Memory(Protocol):
    def place(self, tensor: Tensor) -> Tensor: ...

    def intact(self) -> bool: ...


def faults(op: Op, version: Implementation, case: Case, memory: Memory) -> list[str]:
    """What is wrong with `version`'s answer to `case` when its tensors lie in `memory`; empty when all is well."""
    inputs = [memory.place(value) if isinstance(value, Tensor) else value for value in case.inputs()]
    out = memory.place(case.output().fill_(torch.nan))
    version(*inputs, out=out)
    found = [] if memory.intact() else ["wrote beside its tensors"]
    if not all(map(_same, inputs, case.inputs())):
        found.append("changed its inputs")
    allowed = (op.cpu_tolerance if version is op.cpu else None) or op.tolerance
    return found + _differences(op, case, out.cpu(), allowed[case.dtype])


def _same(value: Any, original: Any) -> bool:
    return torch.equal(value.cpu(), original) if isinstance(original, Tensor) else value == original


def _differences(op: Op, case: Case, out: Tensor, tolerance: Tolerance) -> list[str]:
    expected = case.output()
    op.reference(*case.inputs(), out=expected)
    unwritten = int(out.isnan().sum())
    if unwritten:
        return [f"{unwritten} of {out.numel()} values were not written"]
    error = (out.double() - expected.double()).abs()
    wrong = error > tolerance.absolute + tolerance.relative * expected.double().abs()
    return [f"{int(wrong.sum())} of {out.numel()} values are off, by up to {error.max():.3g}"] if wrong.any() else []
