"""Every kernel on a real GPU against its reference: the same cases, with guard bands around every tensor."""

from __future__ import annotations

import pytest
import torch

from torchserve.kernels.catalog import OPS
from torchserve.kernels.op import Case, Op

from .memory import Bands
from .verdict import faults

CALLS = [
    pytest.param(op, case, id=f"{op.name}-{case.name}")
    for op in OPS
    for case in (*op.cases, *(budget.case for budget in op.budgets))
]


@pytest.mark.gpu
@pytest.mark.parametrize("fill", [0, 255])
@pytest.mark.parametrize(("op", "case"), CALLS)
def test_the_kernel_answers_as_the_reference(op: Op, case: Case, fill: int) -> None:
    assert faults(op, op.fused, case, Bands("cuda", fill)) == []


@pytest.mark.gpu
@pytest.mark.parametrize(("op", "case"), CALLS)
def test_the_op_chooses_its_kernel(op: Op, case: Case) -> None:
    inputs = [value.cuda() if isinstance(value, torch.Tensor) else value for value in case.inputs()]
    out = case.output().cuda()
    assert op.choose(*inputs, out=out) is op.fused
