"""softmax_topk beside torch's own softmax and topk, and the order of equals."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given

from torchserve.kernels.softmax_topk import SOFTMAX_TOPK, softmax_topk
from torchserve.kernels.softmax_topk.cases import TopCase

from .drawn import top_cases
from .memory import Bands
from .verdict import faults


@given(case=top_cases)
def test_the_cpu_path_of_any_rows(case: TopCase) -> None:
    assert faults(SOFTMAX_TOPK, SOFTMAX_TOPK.cpu, case, Bands("cpu", fill=255)) == []


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_torchs_own_answer(kind: torch.dtype) -> None:
    scores = torch.randn(7, 1000, dtype=kind, generator=torch.Generator().manual_seed(3))
    expected, expected_classes = torch.softmax(scores, dim=1).topk(5, dim=1)
    probabilities, classes = softmax_topk(scores, 5)
    torch.testing.assert_close(probabilities, expected, atol=1e-7, rtol=1e-5)
    assert classes.dtype == torch.int64
    assert torch.equal(classes, expected_classes)


def test_equals_in_the_order_of_the_classes() -> None:
    scores = torch.tensor([[0.0, 2.0, -0.0, 2.0, 0.0], [1.0] * 5])
    probabilities, classes = softmax_topk(scores, 4)
    assert classes.tolist() == [[1, 3, 0, 2], [0, 1, 2, 3]]
    assert probabilities[1].tolist() == pytest.approx([0.2] * 4)


@pytest.mark.parametrize("row", [[1.0, float("nan"), 2.0], [float("-inf")] * 3])
def test_what_has_no_probability(row: list[float]) -> None:
    assert softmax_topk(torch.tensor([row]), 2)[0].isnan().all()


@pytest.mark.parametrize(("shape", "count"), [((3,), 1), ((1, 2, 3), 1), ((2, 3), 4), ((2, 3), -1)])
def test_what_it_refuses(shape: tuple[int, ...], count: int) -> None:
    with pytest.raises(ValueError, match=r"expected scores of shape \[N, C\] and a count of 0 to C, got \["):
        softmax_topk(torch.zeros(shape), count)
