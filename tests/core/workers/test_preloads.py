"""What is imported before a worker is there, as its handler's text tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchserve.core.workers.preloads import MOST_NAMES, Preloads, preloads

BASE, VISION = "ts.torch_handler.base_handler", "ts.torch_handler.vision_handler"


@pytest.mark.parametrize(
    ("text", "modules"),
    [
        ("import torch", ("torch",)),
        ("import torch.nn as nn\nimport numpy", ("numpy", "torch")),
        ("from torchvision import transforms", ("torchvision",)),
        (f"from {BASE} import BaseHandler", (BASE,)),
        ("def handle(data, context):\n    import torch", ("torch",)),
        (f"from {VISION} import VisionHandler\nimport mine", (VISION,)),
    ],
)
def test_a_handler_that_imports_torch_gains(tmp_path: Path, text: str, modules: tuple[str, ...]) -> None:
    (tmp_path / "mine.py").write_text("import numpy")
    (tmp_path / "handler.py").write_text(text)
    for handler in ("handler", "handler.py", "handler.py:handle"):
        assert preloads(str(tmp_path), handler) == Preloads(modules, ("handler", "mine"))


@pytest.mark.parametrize(
    "text", ["import json", "import numpy", "# import torch", "import torchmetrics_of_mine", "x = '\0'"]
)
def test_any_other_does_not(tmp_path: Path, text: str) -> None:
    (tmp_path / "handler.py").write_text(text)
    assert preloads(str(tmp_path), "handler.py") is None


@pytest.mark.parametrize(
    "handler", ["image_classifier", "ts.torch_handler.image_classifier", "image_classifier:handle"]
)
def test_built_in_handlers_are_known(tmp_path: Path, handler: str) -> None:
    assert preloads(str(tmp_path), handler) == Preloads(("ts.torch_handler.image_classifier",), ())
    assert preloads(str(tmp_path), "child_engine") is None
    assert preloads(str(tmp_path / "gone"), "nothing_of_that_name") is None


def test_names_are_those_that_import_would_find(tmp_path: Path) -> None:
    inner = tmp_path / "code"
    for path in ("a.py", "b/c.py", "d.cpython-311.so", "weights.pt", "no-name.py", "code/e.py", "code/handler.py"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("import torch")
    found = preloads(str(tmp_path), "code/handler.py")
    assert found == Preloads(("torch",), ("a", "b", "code", "d", "e", "handler"))
    for number in range(MOST_NAMES):
        (inner / f"f{number}.py").touch()
    assert preloads(str(tmp_path), "code/handler.py") is None, "a folder with too many is not compared"
