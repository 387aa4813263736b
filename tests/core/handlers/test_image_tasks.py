"""ImageSegmenter and ObjectDetector on models whose answers can be worked out by hand."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from torchserve.core.handlers.context import Context, RequestProcessor
from torchserve.core.handlers.image_segmenter import ImageSegmenter
from torchserve.core.handlers.object_detector import ObjectDetector

NETS = """
import torch
class Segments(torch.nn.Module):
    def forward(self, x):
        bright = x.mean(1, keepdim=True)
        return {"out": torch.cat([bright * 0, bright, bright * 0], 1)}
"""
DETECTS = """
import torch
class Detects(torch.nn.Module):
    def forward(self, images):
        return [
            {
                "boxes": torch.tensor([[0.0, 0.0, image.shape[2], image.shape[1]], [1.0, 2.0, 3.0, 4.0]]),
                "labels": torch.tensor([1, 2]),
                "scores": torch.tensor([0.5, 0.49 + image.max()]),
            }
            for image in images
        ]
"""


def png(width: int, height: int, color: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (color,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    (tmp_path / "segmentsnet.py").write_text(NETS)
    (tmp_path / "detectsnet.py").write_text(DETECTS)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in ("segmentsnet", "detectsnet"):
        sys.modules.pop(name, None)


def answers(handler: Any, folder: Path, model: str, rows: list[dict[str, Any]]) -> Any:
    context = Context("m", str(folder), {"model": {"modelFile": model}}, len(rows), None, "0")
    context.request_processor = [RequestProcessor({}) for _ in rows]
    handler.initialize(context)
    return handler.handle(rows, context)


def test_segments(folder: Path) -> None:
    white, black = answers(
        ImageSegmenter(), folder, "segmentsnet.py", [{"data": png(300, 260, 255)}, {"body": png(300, 260, 0)}]
    )
    assert torch.tensor(white).shape == torch.tensor(black).shape == (224, 224, 2)
    normalized = sum((1 - mean) / std for mean, std in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))) / 3
    assert white[5][7] == [1.0, pytest.approx(torch.softmax(torch.tensor([0.0, normalized, 0.0]), 0)[1].item())]
    assert black[0][0][0] == 0.0


def test_detects_what_reaches_the_threshold(folder: Path) -> None:
    (folder / "index_to_name.json").write_text('{"object_type_names": ["background", "cat", "dog"]}')
    rows = [{"data": png(30, 20, 0)}, {"body": png(30, 20, 255)}]
    dark, bright = answers(ObjectDetector(), folder, "detectsnet.py", rows)
    assert dark == [{"cat": [0.0, 0.0, 30.0, 20.0], "score": 0.5}]
    assert bright == [
        {"cat": [0.0, 0.0, 30.0, 20.0], "score": 0.5},
        {"dog": [1.0, 2.0, 3.0, 4.0], "score": pytest.approx(1.49)},
    ]


def test_images_of_several_sizes_are_one_batch(folder: Path) -> None:
    rows = [{"data": png(30, 20, 0)}, {"data": png(8, 9, 0)}]
    handler = ObjectDetector()
    handler.threshold = 0.0
    first, second = answers(handler, folder, "detectsnet.py", rows)
    assert [first[0]["1"], second[0]["1"]] == [[0.0, 0.0, 30.0, 20.0], [0.0, 0.0, 8.0, 9.0]]
