"""CUDA graphs of a handler's model: which sizes, what is said where there are none, and what runs without one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.micro_batching import MicroBatching
from torchserve.core.handlers.speed.graphed import Graphed, sizes
from torchserve.kernels.graphs import answered


def handler(**config: Any) -> BaseHandler:
    made = BaseHandler()
    made.model, made.device = torch.nn.Linear(3, 2).eval(), torch.device("cpu")
    made.context = SimpleNamespace(model_yaml_config=config, notes={}, system_properties={"batch_size": 6})
    return made


@pytest.mark.parametrize(
    ("batch_size", "padded", "expected"),
    [
        (1, (), [1]),
        (8, (), [1, 2, 4, 8]),
        (6, (), [1, 2, 4, 6]),
        (6, (3, 6), [3, 6]),
        (6, (2, 8, 16), [2, 8]),
    ],
)
def test_sizes(batch_size: int, padded: tuple[int, ...], expected: list[int]) -> None:
    made = handler()
    made.padded_batch_sizes = padded
    assert sizes(made, batch_size) == expected


def test_micro_batches_are_what_is_recorded() -> None:
    made = handler()
    made.handle = MicroBatching(made, 2)
    assert sizes(made, 6) == [1, 2]


@pytest.mark.parametrize(
    ("config", "note"),
    [
        ({}, None),
        ({"cudaGraphs": False}, None),
        ({"cudaGraphs": "yes"}, "none: cudaGraphs must be true or false, not 'yes'"),
        ({"cudaGraphs": True, "warmUp": [3]}, "none: the model runs on cpu"),
        (
            {"cudaGraphs": True},
            "none: nobody knows what the model is given: warmUp in the yaml can name a row's shape",
        ),
    ],
)
def test_the_note(config: dict[str, Any], note: str | None) -> None:
    made = handler(**config)
    made.settle(made.context)
    assert made.context.notes.get("cuda graphs") == note
    assert made._graphed is None


@pytest.mark.parametrize(
    "pt2", ["cudagraphs", {"compile": {"enable": True, "mode": "reduce-overhead"}}, {"mode": "max-autotune"}]
)
def test_a_model_that_is_compiled_to_graphs_keeps_them(pt2: Any) -> None:
    made = handler(cudaGraphs=True, warmUp=[3], pt2=pt2)
    made.model._orig_mod = made.model.forward  # as torch.compile's have it
    made.settle(made.context)
    assert made.context.notes["cuda graphs"] == "none: torch.compile makes the model's own"


class Recorder:
    """In the place of graphs, of at most 4 rows."""

    def size(self, rows: int) -> int | None:
        return 4 if rows <= 4 else None

    def run(self, rows: int, fill: Any) -> Any:
        source = torch.zeros(4, 3)
        fill(source)
        return source[:rows] * 100


@pytest.mark.parametrize(
    ("batch", "by_graph"),
    [
        (torch.ones(3, 3), True),
        (torch.ones(5, 3), False),
        (torch.ones(3, 4), False),
        (torch.ones(3, 3, dtype=torch.float64), False),
        (torch.ones(0, 3), False),
    ],
)
def test_what_is_replayed(batch: torch.Tensor, by_graph: bool) -> None:
    made = handler()
    made.model = torch.neg
    made._graphed = Graphed(torch.neg, torch.zeros(3), Recorder())  # pyright: ignore[reportArgumentType]
    assert torch.equal(made.inference(batch), batch * 100 if by_graph else -batch)
    made.model = torch.abs  # another one than was recorded
    assert torch.equal(made.inference(batch), batch)


def test_an_answer_that_came_with_its_batch_is_that_batch_s_alone() -> None:
    made = handler()
    made.model = torch.neg
    made._graphed = Graphed(torch.neg, torch.zeros(3), None)
    batch = answered(torch.ones(2, 3), "known")
    assert made.inference(batch) == "known"
    assert torch.equal(made.inference(batch + 1), -batch - 1)
