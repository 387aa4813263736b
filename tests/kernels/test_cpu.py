"""The CPU path against the reference, the public function, and the room on a machine without triton."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given

from torchserve.kernels import op as op_module
from torchserve.kernels.catalog import OPS
from torchserve.kernels.normalize_images import NORMALIZE_IMAGES, cpu, normalize_images
from torchserve.kernels.normalize_images.cases import NormalizeCase
from torchserve.kernels.op import Case, Op

from ..house.tree import child
from .drawn import normalize_cases
from .memory import Bands
from .verdict import faults

CALLS = [pytest.param(op, case, id=f"{op.name}-{case.name}") for op in OPS for case in op.cases]


@pytest.mark.parametrize(("op", "case"), CALLS)
def test_the_cpu_path_answers_as_the_reference(op: Op, case: Case) -> None:
    assert faults(op, op.cpu, case, Bands("cpu", fill=255)) == []


@given(case=normalize_cases)
def test_normalize_images_of_any_shape(case: NormalizeCase) -> None:
    assert faults(NORMALIZE_IMAGES, cpu.normalize_images, case, Bands("cpu", fill=0)) == []


@pytest.mark.parametrize("scratch", [1, 100, 41 * 3 * 5, 41 * 3 * 37 * 2])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(3, 37, 41, 3), (5, 6, 7, 3)])
def test_any_scratch_will_do(
    monkeypatch: pytest.MonkeyPatch,
    shape: tuple[int, int, int, int],
    scratch: int,
    layout: torch.memory_format,
    dtype: torch.dtype,
) -> None:
    """Whether it holds less than a row, some rows, or some pictures and not all."""
    monkeypatch.setattr(cpu, "_SCRATCH", scratch)
    case = NormalizeCase(shape, dtype, layout)
    assert faults(NORMALIZE_IMAGES, cpu.normalize_images, case, Bands("cpu", fill=0)) == []


def test_every_byte_by_hand() -> None:
    answer = normalize_images(torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(-1, -1, -1, 3))
    for channel, (mean, std) in enumerate([(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]):
        expected = [(byte / 255 - mean) / std for byte in range(256)]
        assert answer[0, channel].flatten().tolist() == pytest.approx(expected, rel=0, abs=1e-6)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_answer_has_the_type_and_layout_asked_for(layout: torch.memory_format, dtype: torch.dtype) -> None:
    answer = normalize_images(torch.zeros(2, 5, 7, 3, dtype=torch.uint8), dtype=dtype, memory_format=layout)
    assert (answer.shape, answer.dtype) == ((2, 3, 5, 7), dtype)
    assert answer.is_contiguous(memory_format=layout)


BYTES = torch.zeros(2, 5, 7, 3, dtype=torch.uint8)
REFUSED = [
    ((BYTES.float(),), {}, TypeError, r"uint8 images .* got torch\.float32"),
    ((BYTES,), {"dtype": torch.float64}, TypeError, r"got torch\.uint8 and torch\.float64"),
    ((BYTES[0],), {}, ValueError, r"got \[5, 7, 3\]"),
    ((BYTES[..., :2],), {}, ValueError, r"C 1 or 3, got \[2, 5, 7, 2\]"),
    ((BYTES[..., :1],), {}, ValueError, r"1 channels need as many means and stds, got 3 and 3"),
    ((BYTES, (0.5, 0.5, 0.5), (1.0, 0.0, 1.0)), {}, ValueError, r"std of 0"),
    ((BYTES,), {"memory_format": torch.preserve_format}, ValueError, r"got torch\.preserve_format"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "text"), REFUSED)
def test_what_it_refuses(arguments: Any, options: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        normalize_images(*arguments, **options)


CHOICES = [
    ("cpu", torch.contiguous_format, True, "cpu"),
    ("cuda", torch.contiguous_format, True, "fused"),
    ("cuda", torch.channels_last, True, "fused"),
    ("cuda", torch.contiguous_format, False, "reference"),
    ("cuda", None, True, "reference"),
    ("meta", torch.contiguous_format, True, "reference"),
]


@pytest.mark.parametrize(("device", "layout", "triton", "chosen"), CHOICES)
def test_which_version_runs(
    monkeypatch: pytest.MonkeyPatch, device: str, layout: torch.memory_format | None, triton: bool, chosen: str
) -> None:
    monkeypatch.setattr(op_module, "runs_triton", lambda _: triton)
    op = NORMALIZE_IMAGES
    images = SimpleNamespace(device=torch.device(device))
    out: Any = SimpleNamespace(
        device=images.device, is_cuda=device == "cuda", is_contiguous=lambda memory_format: memory_format is layout
    )
    assert op.choose(images, (0.5,) * 3, (0.5,) * 3, out=out) is getattr(op, chosen)


@pytest.mark.parametrize(("capability", "runs"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_triton_runs_from_ampere_on(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], runs: bool) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert op_module.runs_triton.__wrapped__(torch.device("cuda:0")) is runs


_WITHOUT_TRITON = """
import sys
sys.modules["triton"] = None  # importing it fails, as where it isn't installed
import torch
from torchserve.kernels.catalog import OPS
from torchserve.kernels.normalize_images import normalize_images
for op in OPS:
    case = op.cases[0]
    op(*case.inputs(), out=case.output())
print(len(OPS), normalize_images(torch.zeros(1, 2, 2, 3, dtype=torch.uint8)).shape)
"""


def test_the_catalog_works_without_triton() -> None:
    assert child(_WITHOUT_TRITON) == f"{len(OPS)} torch.Size([1, 3, 2, 2])\n"
