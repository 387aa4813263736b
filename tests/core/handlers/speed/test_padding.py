"""What a model sees of a batch where paddedBatchSizes is set, and that nobody else sees the difference."""

from __future__ import annotations

from collections import OrderedDict, UserDict, namedtuple
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest
import torch

from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.object_detector import ObjectDetector
from torchserve.core.handlers.speed.accelerate import accelerate
from torchserve.core.handlers.speed.padding import padded, rows_of, trimmed
from torchserve.core.handlers.text_classifier import TextClassifier

SIZES = (2, 4, 8)
Pair = namedtuple("Pair", "a b")


@dataclass
class Output:
    logits: torch.Tensor
    loss: Any = None


class Encoding(UserDict[str, Any]):
    """As tokenizers give it."""

    def to(self, device: Any) -> Encoding:
        return self


class Recorder(torch.nn.Module):
    """Doubles its input, and writes down how many rows it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        self.seen += [len(each) for each in (x, *args, *kwargs.values())]
        return x * 2


def handler_of(model: Any, cls: type[BaseHandler] = BaseHandler, sizes: tuple[int, ...] = SIZES) -> Any:
    made = cls()
    made.model, made.device, made.padded_batch_sizes = model, "cpu", sizes
    return made


@pytest.mark.parametrize(("rows", "size"), [(1, 2), (2, 2), (3, 4), (5, 8), (8, 8), (9, 9)])
def test_a_batch_runs_in_the_next_size(rows: int, size: int) -> None:
    handler = handler_of(Recorder())
    data = torch.arange(rows * 3.0).view(rows, 3)
    assert torch.equal(handler.inference(data, data, mask=data), data * 2)
    assert handler.model.seen == [size] * 3


def test_a_graph_gets_the_very_batch() -> None:
    """It pads by itself, and finds the answer of pictures by their tensor."""
    handler, batch = handler_of(Recorder()), torch.ones(3, 2)
    handler._graphed = lambda model, found: found
    assert handler.inference(batch) is batch


def test_without_sizes_nothing_is_padded() -> None:
    handler = handler_of(Recorder(), sizes=())
    handler.inference(torch.ones(3, 2))
    assert (handler.model.seen, handler.padded_size(0), handler.padded_size(3)) == ([3], 0, 3)
    assert handler_of(None).padded_size(0) == 0


def test_what_is_nested_is_padded_by_its_last_row_and_keeps_its_type() -> None:
    three = torch.tensor([1, 2, 3])
    data = Encoding(ids=three, more=[three, (three.float(), "text")], scalar=torch.tensor(3), table=torch.ones(5, 3))
    assert rows_of(data) == 3
    made = padded(data, 3, 4)
    assert type(made) is Encoding
    assert made["ids"].tolist() == made["more"][0].tolist() == made["more"][1][0].tolist() == [1, 2, 3, 3]
    assert (made["more"][1][1], made["scalar"].item(), len(made["table"])) == ("text", 3, 5)
    assert data["ids"] is three


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (torch.arange(4), [0, 1]),
        (torch.tensor(4.0), 4.0),
        (OrderedDict(out=torch.arange(4)), {"out": [0, 1]}),
        (Pair(torch.arange(4), torch.arange(3)), ([0, 1], [0, 1, 2])),
        ([torch.arange(4), torch.arange(4)], [[0, 1], [0, 1]]),
        ([torch.arange(4)] * 4, [[0, 1]] * 4),  # four outputs, not four rows
        ([{"boxes": torch.ones(4, 1)}] * 4, [{"boxes": [[1]] * 4}] * 2),  # four rows of a detector
        (["a", "b", "c", "d"], ["a", "b"]),
        (Output(torch.arange(4)), Output([0, 1])),  # pyright: ignore[reportArgumentType]
        (None, None),
    ],
)
def test_outputs_are_cut_again(output: Any, expected: Any) -> None:
    found = trimmed(output, 4, 2)
    assert type(found) is type(output)
    assert plain(found) == plain(expected)


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, Output):
        return plain(value.logits)
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(("rows", "size"), [(1, 2), (3, 4), (4, 4)])
def test_a_detector_gets_its_last_image_again(rows: int, size: int) -> None:
    seen: list[int] = []

    def model(images: list[torch.Tensor]) -> list[int]:
        seen.append(len(images))
        return [len(image) for image in images]

    handler = handler_of(model, ObjectDetector)
    assert handler.inference([torch.ones(number + 1) for number in range(rows)]) == list(range(1, rows + 1))
    assert seen == [size]


@pytest.mark.parametrize(("starts", "size"), [([], 2), ([0, 2], 2), ([0, 1, 2], 4), ([0, 0, 1, 2, 3], 8)])
def test_a_text_is_repeated_as_a_whole(starts: list[int], size: int) -> None:
    """Its words and where it begins: another offset alone would end the last text early."""
    bags = torch.nn.EmbeddingBag(9, 2, mode="sum")
    seen: list[int] = []

    def model(numbers: torch.Tensor, offsets: torch.Tensor) -> torch.Tensor:
        seen.append(len(offsets))
        return bags(numbers, offsets)

    numbers = torch.tensor([1, 2, 3, 4])
    data = (numbers, ["first"], *([torch.tensor(starts)] if starts else []))
    found = handler_of(model, TextClassifier).inference(data)
    assert torch.equal(found, bags(numbers, torch.tensor(starts or [0])))
    assert seen == [size]


@pytest.mark.parametrize(
    ("sizes", "batch_size", "warmed"),
    [((1, 3, 8), 8, "1, 3, 8"), ((1, 3, 8, 16), 5, "1, 3, 8"), ((4, 8), 8, "4, 8"), ((8,), 3, "8")],
)
def test_padded_sizes_are_run_and_no_others_however_long_it_takes(
    sizes: tuple[int, ...], batch_size: int, warmed: str
) -> None:
    handler = handler_of(Recorder(), sizes=sizes)
    hours = count(0.0, 3600.0)
    told = accelerate(handler, {"warmUp": [3]}, batch_size, lambda: next(hours))
    assert told["warm-up"].startswith(f"batches of {warmed} in")
    assert set(map(str, handler.model.seen)) == set(warmed.split(", "))
