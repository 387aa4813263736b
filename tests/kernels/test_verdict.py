"""The judge of all versions sees each kind of fault, in either kind of memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from torchserve.kernels.normalize_images import NORMALIZE_IMAGES
from torchserve.kernels.normalize_images.cases import NormalizeCase

from .memory import Bands, Fences, span
from .verdict import Memory, faults

CASE = NormalizeCase((2, 5, 7, 3), torch.float16, torch.channels_last)
MEMORIES = [
    pytest.param(lambda: Bands("cpu", 0), id="bands"),
    pytest.param(lambda: Fences("before"), id="fence-before"),
    pytest.param(lambda: Fences("after"), id="fence-after"),
]


def right(images: Tensor, mean: Any, std: Any, *, out: Tensor) -> None:
    NORMALIZE_IMAGES.reference(images, mean, std, out=out)


def forgetful(images: Tensor, mean: Any, std: Any, *, out: Tensor) -> None:
    right(images, mean, std, out=out)
    out[1, 2, 4, 6] = torch.nan


def wrong(images: Tensor, mean: Any, std: Any, *, out: Tensor) -> None:
    right(images, mean, std, out=out)
    out[1, 2, 4, 6] *= 1.002  # two units in the last place of fp16


def spoiling(images: Tensor, mean: Any, std: Any, *, out: Tensor) -> None:
    right(images, mean, std, out=out)
    images[0, 0, 0, 0] += 1


VERSIONS = [
    (right, []),
    (forgetful, ["1 of 210 values were not written"]),
    (wrong, ["1 of 210 values are off"]),
    (spoiling, ["changed its inputs"]),
]


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize(("version", "seen"), VERSIONS)
def test_a_fault_is_seen(memory: Callable[[], Memory], version: Any, seen: list[str]) -> None:
    found = faults(NORMALIZE_IMAGES, version, CASE, memory())
    assert [text.partition(",")[0] for text in found] == seen


@pytest.mark.parametrize("beside", [-1, 1])
def test_a_write_beside_is_seen_by_the_bands(beside: int) -> None:
    def straying(images: Tensor, mean: Any, std: Any, *, out: Tensor) -> None:
        right(images, mean, std, out=out)
        place = out.storage_offset() + (-1 if beside < 0 else out.numel())
        out.as_strided((1,), (1,), place).fill_(7)

    assert faults(NORMALIZE_IMAGES, straying, CASE, Bands("cpu", 0)) == ["wrote beside its tensors"]


@pytest.mark.parametrize("memory", MEMORIES)
def test_gaps_stay_where_they_are(memory: Callable[[], Memory]) -> None:
    (images, *_) = replace(CASE, sliced=True).inputs()
    placed = memory().place(images)
    assert placed.stride() == images.stride()
    assert torch.equal(placed, images)
    assert span(placed) == span(images) == 5 * 2 * 14 * 3 - 3
