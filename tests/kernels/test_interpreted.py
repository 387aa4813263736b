"""Every kernel in Triton's interpreter against its reference: each case, shapes drawn wild, and planted faults."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings

from torchserve import kernels
from torchserve.kernels.catalog import OPS
from torchserve.kernels.normalize_images import NORMALIZE_IMAGES
from torchserve.kernels.normalize_images.cases import LAYOUTS, NormalizeCase
from torchserve.kernels.op import Case, Op
from torchserve.kernels.resize_normalize import RESIZE_NORMALIZE, Fit
from torchserve.kernels.resize_normalize.cases import ResizeCase
from torchserve.kernels.softmax_topk import SOFTMAX_TOPK
from torchserve.kernels.softmax_topk.cases import TopCase

from .drawn import normalize_cases, resize_cases, top_cases
from .interpreter import Interpreter

# Colours last are stored by the same lines whatever the type: asked for one type each time, and for all by `make test`.
CALLS = [
    pytest.param(
        op,
        case,
        id=f"{op.name}-{case.name}",
        marks=[pytest.mark.thorough] if "channels_last" in case.name and "-float32" in case.name else [],
    )
    for op in OPS
    for case in op.cases
]
KERNELS = Path(kernels.__file__).parent


@pytest.mark.parametrize(("op", "case"), CALLS)
def test_the_kernel_answers_as_the_reference(interpreter: Interpreter, op: Op, case: Case) -> None:
    assert interpreter.faults(op, case) == []


@settings(max_examples=15)
@given(case=normalize_cases)
def test_normalize_images_of_any_shape(interpreter: Interpreter, case: NormalizeCase) -> None:
    assert interpreter.faults(NORMALIZE_IMAGES, case) == []


@settings(max_examples=10)
@given(case=resize_cases)
def test_resize_normalize_of_any_sizes(interpreter: Interpreter, case: ResizeCase) -> None:
    assert interpreter.faults(RESIZE_NORMALIZE, case) == []


@settings(max_examples=15)
@given(case=top_cases)
def test_softmax_topk_of_any_rows(interpreter: Interpreter, case: TopCase) -> None:
    assert interpreter.faults(SOFTMAX_TOPK, case) == []


NCHW, LAST = (NormalizeCase((3, 37, 41, 3), torch.float32, layout) for layout in LAYOUTS)
FIT = Fit(crop=(18, 34), resize=36)
SMALL = Fit(crop=(9, 13), resize=15)
DOWN, TALL = ResizeCase(((26, 21), (12, 17)), SMALL, "bicubic", stark=True), ResizeCase(((99, 40),), FIT)
PADDED = ResizeCase(((7, 40),), Fit(crop=(18, 34)), fill=9)
TIES, HOLE, SLICED = TopCase(4, 77, 9, levels=3), TopCase(2, 40, 4, hole=True), TopCase(3, 100, 5, sliced=True)
ALL = TopCase(4, 30, 30, levels=3)
NORMALIZE, RESIZE, TOP = NORMALIZE_IMAGES, RESIZE_NORMALIZE, SOFTMAX_TOPK
PLANTED = [
    pytest.param(NORMALIZE, LAST, "at < total", "at < total - 1", "1 of 13653 values were not written",
                 id="last-value-left-out"),
    pytest.param(NORMALIZE, NCHW, "% tiles", "% 1", "values were not written", id="tiles-left-out"),
    pytest.param(NORMALIZE, NCHW, "* scale1 + shift1", "* scale1 + shift2", "values are off", id="wrong-channel"),
    pytest.param(NORMALIZE, LAST, "first % CHANNELS", "first * 0", "values are off",
                 id="channel-lost-from-block-to-block"),
    pytest.param(NORMALIZE, NCHW, "out + image * pixels", "out + pixels", "values were not written",
                 id="images-on-top-of-another"),
    pytest.param(NORMALIZE, LAST, "result.to(out.dtype.element_ty), mask=inside", "result.to(out.dtype.element_ty)",
                 "touched memory", id="store-past-the-end"),
    pytest.param(NORMALIZE, NCHW, "tl.load(source + 2, mask=inside, other=0)", "tl.load(source + 2)",
                 "touched memory", id="load-past-the-end"),
    pytest.param(RESIZE, DOWN, "tl.maximum(total >> _BITS, 0)", "(total >> _BITS)", "values are off",
                 id="dark-not-clamped"),
    pytest.param(RESIZE, DOWN, "a += weight * _level(x)", "a += weight * (x >> _BITS)", "values are off",
                 id="no-clamp-between-passes"),
    pytest.param(RESIZE, TALL, "tl.load(frame + 6) == 0", "tl.load(frame + 6) >= 0", "values are off",
                 id="passes-in-the-wrong-order"),
    pytest.param(RESIZE, DOWN, "source = pixels + tl.load(frame)", "source = pixels", "values are off",
                 id="every-picture-the-first"),
    pytest.param(RESIZE, DOWN, "range(then_taps)", "range(then_taps - 1)", "values are off", id="a-tap-left-out"),
    pytest.param(RESIZE, DOWN, "range(first_taps)", "range(first_taps + 1)", "values are off", id="a-tap-too-many"),
    pytest.param(RESIZE, PADDED, "tl.where(inside, _level(b), fill)", "_level(b)", "values are off",
                 id="padding-forgotten"),
    pytest.param(RESIZE, DOWN, "third.to(kind), mask=written", "third.to(kind)", "touched memory",
                 id="tile-past-the-end"),
    pytest.param(TOP, TIES, "(0x7FFFFFFF - places)", "places", "values are off", id="last-of-equals-first"),
    pytest.param(TOP, HOLE, "_sortable(values, places), _LOWEST)", "_sortable(values, places), -(2**62))",
                 "values are off", id="places-past-the-end-win"),
    pytest.param(TOP, ALL, "tl.where(values == 0, 0.0, values)", "values", "values are off", id="minus-zero-last"),
    pytest.param(TOP, SLICED, "row * stride", "row * CLASSES", "values are off", id="gaps-between-rows-ignored"),
    pytest.param(TOP, TIES, "/ whole", "", "values are off", id="not-divided"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "case", "right", "wrong", "seen"), PLANTED)
def test_a_planted_fault_is_seen(
    interpreter: Interpreter, tmp_path: Path, op: Op, case: Case, right: str, wrong: str, seen: str
) -> None:
    source = (KERNELS / op.name / "fused.py").read_text()
    assert right in source
    spoilt = tmp_path / f"planted_{tmp_path.name}.py"
    spoilt.write_text(source.replace(right, wrong))
    assert seen in " ".join(interpreter.faults(op, case, spoilt))
