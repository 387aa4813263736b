"""Explanations over HTTP, by captum, on a model whose explanation is known."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from .conftest import Serve
from .live import Answer, LiveServer, make_model

MODEL = """
import torch
class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = torch.nn.Parameter(torch.arange(3 * 2 * 2 * 3, dtype=torch.float32).view(3, 12))

    def forward(self, x):
        return x.flatten(1) @ self.weights.T
"""
HANDLER = """
from ts.torch_handler.vision_handler import VisionHandler
from torchvision import transforms

class Small(VisionHandler):
    image_processing = transforms.Compose([transforms.ToTensor()])
"""


def picture(red: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((2, 2, 3), (red, 0, 255), np.uint8)).save(file, "PNG")
    return file.getvalue()


def expected(target: int, red: int = 51) -> np.ndarray:
    """Value times weight, as the model is linear and its baseline zero."""
    values = np.repeat([red / 255, 0.0, 1.0], 4)
    return (values * np.arange(36).reshape(3, 12)[target]).reshape(1, 3, 2, 2)


def form(**fields: bytes) -> tuple[bytes, str]:
    parts = [
        f'--cut\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"
        for name, value in fields.items()
    ]
    return b"".join(parts) + b"--cut--\r\n", "multipart/form-data; boundary=cut"


def explain(server: LiveServer, path: str, body: bytes, kind: str = "application/octet-stream") -> Answer:
    return server.call("Inference", "POST", path, body, content_type=kind)


def make_linear(store: Path) -> Path:
    folder = make_model(store, "linear", HANDLER, **{"model.py": MODEL})
    manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())
    manifest["model"]["modelFile"] = "model.py"
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))
    return folder


@pytest.fixture(scope="module")
def server(home: Path) -> Iterator[LiveServer]:
    make_linear(home / "store")
    made = LiveServer(home, ["linear"]).wait()
    made.ready("linear")
    yield made
    assert made.stop() == 0


def test_every_route_explains_the_class_that_is_asked_for(server: LiveServer) -> None:
    for path in ("/explanations/linear", "/v1/models/linear:explain", "/v2/models/linear/explain"):
        answer = explain(server, path, picture(51))
        assert answer.status == 200
        assert np.array(answer.json) == pytest.approx(expected(0)[0], abs=1e-5)
    answer = explain(server, "/explanations/linear", *form(data=picture(51), target=b"2"))
    assert np.array(answer.json) == pytest.approx(expected(2)[0], abs=1e-4)


@pytest.mark.parametrize(
    ("target", "text"), [(b"3", "the model has no class 3"), (b"cat", "target must be the number of a class")]
)
def test_a_target_that_can_not_be_is_a_400_and_costs_no_worker(server: LiveServer, target: bytes, text: str) -> None:
    before = server.workers("linear")[0]["pid"]
    answer = explain(server, "/explanations/linear", *form(data=picture(51), target=target))
    assert (answer.status, text in answer.message) == (400, True)
    assert explain(server, "/explanations/linear", picture(51)).status == 200
    assert server.workers("linear")[0]["pid"] == before


def test_without_captum_the_client_is_told_and_predictions_go_on(serve: Serve, store: Path) -> None:
    (make_linear(store) / "captum.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'captum'\", name='captum')\n"
    )
    server = serve("linear=linear")
    answer = explain(server, "/explanations/linear", picture(51))
    assert answer.status == 501
    assert "pip install captum" in answer.message
    assert server.predict("linear", picture(51)).status == 200


def test_a_handler_without_explanations_says_so(serve: Serve, store: Path) -> None:
    plain = "from ts.torch_handler.base_handler import BaseHandler\nclass Plain(BaseHandler):\n"
    plain += "    def initialize(self, context):\n        pass\n    def preprocess(self, data):\n        return data\n"
    make_model(store, "plain", plain)
    answer = explain(serve("plain=plain"), "/explanations/plain", b"x")
    assert answer.status == 501
    assert "Plain has no get_insights" in answer.message
