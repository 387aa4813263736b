"""Every kernel in Triton's interpreter against its reference: each case, shapes drawn wild, and planted faults."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

from torchserve.kernels import normalize_images as room
from torchserve.kernels.catalog import OPS
from torchserve.kernels.normalize_images import NORMALIZE_IMAGES
from torchserve.kernels.normalize_images.cases import NormalizeCase
from torchserve.kernels.op import Case, Op

from .drawn import normalize_cases
from .interpreter import Interpreter

CALLS = [pytest.param(op, case, id=f"{op.name}-{case.name}") for op in OPS for case in op.cases]
FUSED = Path(room.__file__).with_name("fused.py")


@pytest.mark.parametrize(("op", "case"), CALLS)
def test_the_kernel_answers_as_the_reference(interpreter: Interpreter, op: Op, case: Case) -> None:
    assert interpreter.faults(op, case) == []


@settings(max_examples=25, deadline=None)
@given(case=normalize_cases)
def test_normalize_images_of_any_shape(interpreter: Interpreter, case: NormalizeCase) -> None:
    assert interpreter.faults(NORMALIZE_IMAGES, case) == []


ODD, NCHW, LAST = (3, 37, 41, 3), torch.contiguous_format, torch.channels_last
PLANTED = [
    pytest.param(LAST, "at < total", "at < total - 1", "1 of 13653 values were not written", id="last-value-left-out"),
    pytest.param(NCHW, "% tiles", "% 1", "values were not written", id="tiles-left-out"),
    pytest.param(NCHW, "* scale1 + shift1", "* scale1 + shift2", "values are off", id="wrong-channel"),
    pytest.param(LAST, "first % CHANNELS", "first * 0", "values are off", id="channel-lost-from-block-to-block"),
    pytest.param(NCHW, "out + image * pixels", "out + pixels", "values were not written", id="images-on-top-of-another"),
    pytest.param(LAST, "result.to(out.dtype.element_ty), mask=inside", "result.to(out.dtype.element_ty)",
                 "touched memory", id="store-past-the-end"),
    pytest.param(NCHW, "tl.load(source + 2, mask=inside, other=0)", "tl.load(source + 2)",
                 "touched memory", id="load-past-the-end"),
]  # fmt: skip


@pytest.mark.parametrize(("layout", "right", "wrong", "seen"), PLANTED)
def test_a_planted_fault_is_seen(
    interpreter: Interpreter, tmp_path: Path, layout: torch.memory_format, right: str, wrong: str, seen: str
) -> None:
    source = FUSED.read_text()
    assert right in source
    spoilt = tmp_path / f"planted_{tmp_path.name}.py"
    spoilt.write_text(source.replace(right, wrong))
    case = NormalizeCase(ODD, torch.float32, layout)
    assert seen in " ".join(interpreter.faults(NORMALIZE_IMAGES, case, spoilt))
