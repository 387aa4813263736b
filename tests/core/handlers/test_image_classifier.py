"""ImageClassifier and VisionHandler on a small model: kinds of input, labels, top results, explanations."""

from __future__ import annotations

import base64
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from torchserve.core.handlers.context import Context, RequestProcessor
from torchserve.core.handlers.image_classifier import ImageClassifier
from torchserve.core.handlers.mock_context import MockContext
from torchserve.core.handlers.prediction_exception import PredictionException

NET = """
import torch
class Net(torch.nn.Module):
    def forward(self, x):
        mean = x.mean((1, 2, 3)).unsqueeze(1)
        return torch.cat([mean * k for k in (1.0, -2.0, 3.0, 0.5, 2.0, -1.0)], 1)
"""


def png(color: int = 200, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (300, 260), color if mode == "L" else (color,) * len(mode)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def handler(tmp_path: Path, monkeypatch) -> Iterator[ImageClassifier]:
    (tmp_path / "visionnet.py").write_text(NET)
    (tmp_path / "index_to_name.json").write_text(json.dumps({str(i): ["n", f"label{i}"] for i in range(6)}))
    monkeypatch.syspath_prepend(str(tmp_path))
    made = ImageClassifier()
    made.initialize(make_context(tmp_path))
    yield made
    sys.modules.pop("visionnet", None)


def make_context(folder: object, *, limit: bool = True, explain: str = "False", rows: int = 1) -> Context:
    context = Context("m", str(folder), {"model": {"modelFile": "visionnet.py"}}, rows, None, "0", limit)
    context.request_processor = [RequestProcessor({"explain": explain}) for _ in range(rows)]
    return context


def test_every_form_of_an_image_gives_the_same_answer(handler: ImageClassifier) -> None:
    image = png()
    tensor = handler.image_processing(Image.open(io.BytesIO(image))).tolist()
    rows = [{"data": image}, {"body": bytearray(image)}, {"data": base64.b64encode(image).decode()}, {"body": tensor}]
    first, *others = handler.handle(rows, make_context(".", rows=4))
    assert others == [first] * 3
    assert list(first) == ["label2", "label4", "label0", "label3", "label5"]
    assert 0 < sum(first.values()) < 1


def test_the_preprocessing_is_imagenets(handler: ImageClassifier) -> None:
    batch = handler.preprocess([{"data": png(255)}])
    assert batch.shape == (1, 3, 224, 224)
    expected = [(1 - mean) / std for mean, std in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)]
    assert batch[0].mean((1, 2)).tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("topk", "count"), [(1, 1), (2, 2), (6, 6), (10, 6)])
def test_set_max_result_classes(handler: ImageClassifier, topk: int, count: int) -> None:
    handler.set_max_result_classes(topk)
    assert handler.get_max_result_classes() == topk
    (answer,) = handler.handle([{"data": png()}], make_context("."))
    assert len(answer) == count
    assert ImageClassifier.topk == 5


def test_an_explanation_shares_the_score_out_among_the_pixels(handler: ImageClassifier) -> None:
    """The model is linear: what a pixel has done for a class is its value times its weight, nothing else."""
    pixel = (200 / 255 - 0.485) / 0.229 * 3.0 / (3 * 224 * 224)  # the first channel's, for class 2
    answer = handler.handle([{"data": png(), "target": b"2"}], make_context(".", explain="True"))
    shares = torch.tensor(answer)
    assert shares.shape == (1, 3, 224, 224)
    torch.testing.assert_close(shares[0, 0], torch.full((224, 224), pixel), rtol=1e-4, atol=0)
    against = handler.handle([{"data": png(), "target": 5}], make_context(".", explain="True"))
    torch.testing.assert_close(torch.tensor(against), shares / -3, rtol=1e-4, atol=1e-12)


def test_a_class_that_is_not_there_is_the_clients_fault(handler: ImageClassifier) -> None:
    with pytest.raises(PredictionException, match=r"no class 6.* 400"):
        handler.handle([{"data": png(), "target": b"6"}], make_context(".", explain="True"))


def test_without_captum_the_remedy_is_told(handler: ImageClassifier, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(PredictionException, match=r"pip install captum.* 501"):
        handler.handle([{"data": png()}], make_context(".", explain="True"))


@pytest.mark.parametrize("limit", [True, False])
def test_the_pixel_limit_is_lifted_only_on_demand(handler: ImageClassifier, tmp_path: Path, monkeypatch, limit) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    ImageClassifier().initialize(make_context(tmp_path, limit=limit))
    assert (7 if limit else None) == Image.MAX_IMAGE_PIXELS


def test_mock_context_drives_a_handler(handler: ImageClassifier, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("a: 1\n")
    context = MockContext(None, str(tmp_path), "visionnet.py", model_name="m", model_yaml_config_file="c.yaml")
    made = ImageClassifier()
    made.initialize(context)
    assert len(made.handle([{"data": png()}], context)[0]) == 5
    assert context.model_yaml_config == {"a": 1}
    assert context.system_properties["gpu_id"] is None
    assert context.get_request_header(0, "explain") == "False"
    context.explain = True
    assert context.get_request_header(0, "explain") == "True"
    assert context.get_request_header(0, "describe") is False


def test_mock_context_names_its_files() -> None:
    assert MockContext("w.pt", model_file=None).manifest == {"model": {"serializedFile": "w.pt"}}
