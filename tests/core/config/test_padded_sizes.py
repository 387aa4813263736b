"""paddedBatchSizes of model-config.yaml: what is legal, and how it bounds the batch size."""

from __future__ import annotations

import pytest

from torchserve.core.config.model_options import Requested, resolve_options
from torchserve.core.config.settings import Settings


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, 2, 8], (1, 2, 8)),
        ([8], (8,)),
        *[(wrong, ()) for wrong in ([], 8, "8", [0, 8], [8, 4], [8, 8], [True, 8], [1.0, 8], [1, 2**31], {"a": 8})],
    ],
)
def test_padded_batch_sizes(value: object, expected: tuple[int, ...], caplog: pytest.LogCaptureFixture) -> None:
    assert resolve_options({"paddedBatchSizes": value}, Requested(), Settings()).padded_batch_sizes == expected
    assert ("paddedBatchSizes must be a list of ascending whole numbers" in caplog.text) == (not expected)


@pytest.mark.parametrize(("asked", "batch_size", "told"), [(None, 4, True), (8, 4, True), (3, 3, False)])
def test_no_batch_is_larger_than_its_padding(
    asked: int | None, batch_size: int, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"batchSize": 6, "paddedBatchSizes": [2, 4]}
    assert resolve_options(config, Requested(batch_size=asked), Settings()).batch_size == batch_size
    assert ("batches are of at most 4, as paddedBatchSizes ends there" in caplog.text) == told
