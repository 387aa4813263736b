"""Every kernel compiled for A100, H100 and MI300 without one: its machine code keeps its budget, and planted waste is seen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from torchserve import kernels
from torchserve.kernels.catalog import OPS
from torchserve.kernels.normalize_images import NORMALIZE_IMAGES
from torchserve.kernels.op import Budget, Op
from torchserve.kernels.resize_normalize import RESIZE_NORMALIZE
from torchserve.kernels.softmax_topk import SOFTMAX_TOPK

from .interpreter import ROOT

Compiled = dict[Any, list[dict[str, Any]]]

ARCHS = (80, 90, "gfx942")
SPOILT = {"normalize_images": 3, "resize_normalize": 1, "softmax_topk": 1}  # the budgets whose kernels are spoilt: fp16
KERNELS = Path(kernels.__file__).parent
# Of AMD's, half precision has to do: one compiler reads all three types.
BUDGETED = [
    (op, number, arch)
    for op in OPS
    for number, budget in enumerate(op.budgets)
    for arch in ARCHS
    if isinstance(arch, int) or "-float16" in budget.case.name
]
N, R, T = NORMALIZE_IMAGES, RESIZE_NORMALIZE, SOFTMAX_TOPK
PLANTED = [
    pytest.param(N, "BLOCK=launch.block,", "BLOCK=launch.block * 4,", {"registers", "shared"}, id="huge-blocks"),
    pytest.param(N, "num_warps=launch.warps", "num_warps=launch.warps, maxnreg=24", {"stack"}, id="spills"),
    pytest.param(N, "tl.store(out + at,", "tl.store(out + at + total % 2,", {"store"}, id="narrow-stores"),
    pytest.param(N, "tl.program_id(0).to(tl.int64) * BLOCK", "tl.program_id(0) * BLOCK", {"narrow"}, id="32-bit-places"),
    pytest.param(N, "result.to(out.dtype.element_ty)", 'result.to(out.dtype.element_ty, fp_downcast_rounding="rtz")',
                 {"truncates"}, id="truncates"),
    pytest.param(R, "ROWS=tiling.rows", "ROWS=tiling.rows * 4", {"registers"}, id="huge-tiles"),
    pytest.param(R, "num_warps=tiling.warps", "num_warps=tiling.warps, maxnreg=32", {"stack"}, id="tiles-spill"),
    pytest.param(R, "COLUMNS)).to(tl.int64)[None, :]", "COLUMNS))[None, :]", {"narrow"}, id="32-bit-columns"),
    pytest.param(T, "BLOCK=launch.block, num_warps=launch.warps", "BLOCK=launch.block * 8, num_warps=launch.warps",
                 {"registers"}, id="eight-times-the-row"),
]  # fmt: skip


@pytest.fixture(scope="session")
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """What each kernel that a test asks for compiles to. Compiled anew only when the kernel or triton changed."""
    folder = tmp_path_factory.mktemp("kernels")
    asked = {
        item.callspec.id
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == Path(__file__) and hasattr(item, "callspec")
    }
    budgeted = [each for each in BUDGETED if identify(*each) in asked]
    planted = [each for each in PLANTED if each.id in asked]
    jobs = [{"op": op.name, "budget": number, "arch": arch, "kernels": None} for op, number, arch in budgeted]
    for plant in planted:
        op, right, wrong, _ = plant.values
        source = (KERNELS / op.name / "fused.py").read_text()
        assert right in source
        spoilt = folder / f"planted_{len(jobs)}.py"
        spoilt.write_text(source.replace(right, wrong))
        jobs.append({"op": op.name, "budget": SPOILT[op.name], "arch": 90, "kernels": str(spoilt)})
    env = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    cache = getattr(request.config, "cache", None)  # not there with -p no:cacheprovider
    env["TRITON_CACHE_DIR"] = str(cache.mkdir("triton") if cache else folder)
    command = [sys.executable, "-m", f"{__package__}.compiler"]
    done = subprocess.run(command, input=json.dumps(jobs), env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    names = [(op.name, *rest) for op, *rest in budgeted] + [plant.id for plant in planted]
    return dict(zip(names, json.loads(done.stdout), strict=True))


def over(budget: Budget, used: dict[str, Any]) -> set[str]:
    """In what ways a compiled kernel breaks its budget, or the rules for all."""
    rules = {
        "registers": used["registers"] <= budget.registers,
        "shared": used["shared"] <= budget.shared,
        "store": used["store"]
        >= budget.store * 32 // used["lanes"],  # the more lanes a warp has, the fewer values each
        "stack": used["stack"] == used["local"] == 0,
        "narrow": used["narrow"] == [],
        "truncates": used["truncates"] == [],
    }
    return {rule for rule, kept in rules.items() if not kept}


def identify(op: Op, number: int, arch: int | str) -> str:
    return f"{op.name}-{op.budgets[number].case.name}-{arch if isinstance(arch, str) else f'sm_{arch}'}"


def thorough(op: Op, number: int, arch: int | str) -> bool:
    """Whether a kernel is much like another one: for A100, or with colours last, as in half precision."""
    name = op.budgets[number].case.name
    return "-float16" not in name and (arch == 80 or "channels_last" in name)


@pytest.mark.parametrize(
    ("op", "number", "arch"),
    [
        pytest.param(*each, id=identify(*each), marks=[pytest.mark.thorough] if thorough(*each) else [])
        for each in BUDGETED
    ],
)
def test_a_kernel_keeps_its_budget(compiled: Compiled, op: Op, number: int, arch: int | str) -> None:
    launches = compiled[op.name, number, arch]
    assert launches
    for used in launches:
        assert over(op.budgets[number], used) == set(), used


@pytest.mark.parametrize(("op", "right", "wrong", "broken"), PLANTED)
def test_planted_waste_is_seen(
    compiled: Compiled, request: pytest.FixtureRequest, op: Op, right: str, wrong: str, broken: set[str]
) -> None:
    (used,) = compiled[request.node.callspec.id]
    assert over(op.budgets[SPOILT[op.name]], used) >= broken, used
