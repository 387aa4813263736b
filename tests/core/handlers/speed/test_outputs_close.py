"""outputs_close: rounding is forgiven, anything else is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from torchserve.core.handlers.speed.outputs_close import outputs_close


@pytest.mark.parametrize(
    ("found", "expected", "same"),
    [
        (torch.tensor([1.0, 1000.0]), torch.tensor([1.05, 1000.0]), True),
        (torch.tensor([1.0, 1000.0]), torch.tensor([1.0, 1000.2]), False),
        (torch.tensor([1.0]), torch.tensor([float("nan")]), False),
        (torch.tensor([1]), torch.tensor([2]), False),
        (torch.ones(2), torch.ones(3), False),
        ({"out": torch.ones(2)}, {"out": torch.ones(2)}, True),
        ({"out": torch.ones(2)}, {"in": torch.ones(2)}, False),
        ([{"boxes": torch.ones(2)}], [{"boxes": torch.zeros(2)}], False),
        ((torch.ones(1),), (torch.ones(1), torch.ones(1)), False),
        ([torch.ones(1)], (torch.ones(1),), False),
        (torch.zeros(0), torch.zeros(0), True),
        (None, None, True),
        (1, "a", False),
    ],
)
def test_alike(found: Any, expected: Any, same: bool) -> None:
    assert outputs_close(found, expected, torch.device("cpu")) == same
