"""Plain PyTorch's versions on a GPU that isn't there: types, shapes, layouts, and no tensor left on another device."""

from __future__ import annotations

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from torchserve.kernels.catalog import OPS
from torchserve.kernels.op import Case, Op

CALLS = [pytest.param(op, case, id=f"{op.name}-{case.name}") for op in OPS for case in op.cases]


@pytest.mark.parametrize(("op", "case"), CALLS)
def test_the_reference_stays_on_its_device(op: Op, case: Case) -> None:
    given, wanted = case.inputs(), case.output()
    with FakeTensorMode(allow_non_fake_inputs=True):
        inputs = [value.to("cuda") if isinstance(value, torch.Tensor) else value for value in given]
        out = torch.empty_strided(wanted.shape, wanted.stride(), dtype=wanted.dtype, device="cuda")
        op.reference(*inputs, out=out)
        assert (out.device.type, out.shape, out.stride()) == ("cuda", wanted.shape, wanted.stride())


def test_a_tensor_left_behind_is_seen() -> None:
    with FakeTensorMode(allow_non_fake_inputs=True), pytest.raises(RuntimeError, match="at least two devices"):
        torch.empty(2, device="cuda") + torch.ones(2)
