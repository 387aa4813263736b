"""What was chosen for a model while it was loaded is described, and can be switched off."""

from __future__ import annotations

import io
import json
from pathlib import Path

import psutil
from PIL import Image

from .conftest import Serve
from .live import eventually, make_model

NET = """
import torch
class Net(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Conv2d(3, 8, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
"""
CONFIG = "minWorkers: 1\nmaxWorkers: 1\nbatchSize: 4\n"


def classifier(store: Path, name: str, config: str) -> None:
    folder = make_model(store, name, "", config=config)
    (folder / f"{name}_net.py").write_text(NET)
    path = folder / "MAR-INF" / "MANIFEST.json"
    manifest = json.loads(path.read_text())
    manifest["model"] |= {"handler": "image_classifier", "modelFile": f"{name}_net.py"}
    path.write_text(json.dumps(manifest))


def test_what_was_chosen_is_described(serve: Serve, store: Path):
    classifier(store, "warm", CONFIG)
    classifier(store, "cold", CONFIG + "warmUp: false\nfusedPreprocessing: false\n")
    server = serve("warm", "cold", env={"XDG_CACHE_HOME": str(store.parent / "cache")})
    server.ready("warm")
    server.ready("cold")
    notes = eventually(lambda: (found := server.workers("warm")[0]["notes"]).get("warm-up") and found)
    assert "speed" not in notes, "it says how far it is only until it is done"
    assert notes["warm-up"].startswith("batches of 1, 2, 4 in ")
    assert "frozen" in notes["freeze"]
    (forks,) = [each for each in psutil.Process(server.process.pid).children() if "--forks" in each.cmdline()]
    assert forks.num_threads() == 1, "what the default handlers import starts no thread: both workers were forked"
    assert set(server.workers("cold")[0]["notes"]) == {"threads", "preprocessing"}
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 10, 10)).save(picture, "PNG")
    assert len(server.predict("warm", picture.getvalue()).json) == 5
    assert [path.suffix for path in (store.parent / "cache" / "torchserve" / "trials").glob("*.json")] == [".json"]
    shown = server.call("Metrics", "GET", "/metrics").body.decode()
    assert 'ts_inference_requests_total{model_name="warm"' in shown
    assert 'ts_inference_requests_total{model_name="cold"' not in shown
