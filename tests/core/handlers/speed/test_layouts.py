"""Layouts: which script runs for how many rows and threads, and that all of them give the model's answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from torchserve.core.handlers.speed.convolutions import freeze
from torchserve.core.handlers.speed.layouts import Layouts, Packed, learning

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")

ROW = torch.linspace(-1, 1, 8 * 9 * 9).view(8, 9, 9)


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Wanted(Packed):
    """Weights that are wanted as they are written for more than two rows and two threads, whatever the processor is."""

    def lay_out(self, weights: torch.Tensor, rows: int) -> torch.Tensor:
        plain = rows > 2 or torch.get_num_threads() > 1
        return weights.to_mkldnn() if plain else super().lay_out(weights, rows)


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3, groups=4), nn.Conv2d(16, 4, 1)).eval()


def layouts(made: nn.Module, **room: int) -> Layouts:
    with torch.no_grad():
        frozen = freeze(torch.jit.trace(made, ROW[None]).eval(), ROW[None])
    wanted = [
        Wanted(**{field.name: getattr(each, field.name) for field in dataclasses.fields(Packed)})
        for each in frozen._packed
    ]
    return Layouts(frozen.script, wanted, 1, **room)


def batch(rows: int) -> torch.Tensor:
    return torch.stack([ROW] * rows) * torch.linspace(0.5, 1, rows).view(-1, 1, 1, 1)


def learn(found: Layouts, rows: int) -> Any:
    with learning():
        return found.choose(rows)


def test_every_size_and_number_of_threads_gets_its_own_and_the_model_s_answers() -> None:
    made = model()
    found = layouts(made)
    first = found.script._c.getattr("packed_0")
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for rows in (1, 2, 4):
            with learning(), torch.inference_mode():
                torch.testing.assert_close(found(batch(rows)), made(batch(rows)), rtol=1e-4, atol=1e-5)
    many = found.choose(1)
    torch.set_num_threads(1)
    assert found.choose(1) is found.choose(2) is found.script
    assert found.choose(4) is many is not found.script
    assert found.script._c.getattr("packed_0") is not many._c.getattr("packed_0")
    assert torch.equal(found.script._c.getattr("packed_0").to_dense(), first.to_dense())
    for rows in (1, 3, 4, 7):
        with torch.inference_mode():
            torch.testing.assert_close(found(batch(rows)), made(batch(rows)), rtol=1e-4, atol=1e-5)


def test_other_sizes_get_the_layouts_of_the_next_smaller_one() -> None:
    found = layouts(model())
    large = learn(found, 8)
    small = learn(found, 2)
    assert large is not small
    assert [found.choose(rows) is large for rows in (1, 2, 3, 7, 8, 9, 99)] == [False] * 4 + [True] * 3


def test_a_request_has_nothing_laid_out() -> None:
    found = layouts(model())
    torch.set_num_threads(2)
    assert found.choose(8) is found.script, "nothing is known of two threads"
    large = learn(found, 8)
    assert large is not found.script
    assert found.choose(1) is large, "of two threads no other is known"
    torch.set_num_threads(1)
    assert found.choose(8) is found.script


def test_further_layouts_take_no_more_room_than_they_may() -> None:
    made = model()
    found = layouts(made, room=0)
    assert learn(found, 8) is found.script
    with torch.inference_mode():
        torch.testing.assert_close(found(batch(8)), made(batch(8)), rtol=1e-4, atol=1e-5)
    assert learn(layouts(made), 8) is not found.script
