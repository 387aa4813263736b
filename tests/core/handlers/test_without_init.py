"""Handlers whose __init__ doesn't call super().__init__(), as many of TorchServe's examples are written."""

from __future__ import annotations

import ast
import inspect
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

from torchserve.core.backend.loader import load_entry_point
from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.context import Context, RequestProcessor
from torchserve.core.handlers.image_classifier import ImageClassifier
from torchserve.core.handlers.image_segmenter import ImageSegmenter
from torchserve.core.handlers.large_models import BaseDeepSpeedHandler
from torchserve.core.handlers.metrics.emitter import MetricsEmitter
from torchserve.core.handlers.object_detector import ObjectDetector
from torchserve.core.handlers.text_classifier import TextClassifier

CLASSES = [BaseHandler, ImageClassifier, ImageSegmenter, ObjectDetector, TextClassifier, BaseDeepSpeedHandler]

MODEL = """
import torch
class Net(torch.nn.Module):
    def forward(self, x):
        return x * 2
"""
HANDLER = """
import torch
from ts.torch_handler.base_handler import BaseHandler

class Handler(BaseHandler):
    def __init__(self):
        self.mine = True

    def initialize(self, context):
        folder = context.system_properties["model_dir"]
        self.model = self._load_pickled_model(folder, "net_without_init.py", None)

    def preprocess(self, data):
        return torch.tensor([float(row["body"]) for row in data])
"""


def read_of_self(cls: type) -> set[str]:
    """The attributes of `self` that a class's methods read."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)]
    return {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "self"}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_no_method_needs_what_only_init_sets(cls: type) -> None:
    read = set().union(*(read_of_self(each) for each in cls.__mro__ if issubclass(each, BaseHandler)))
    assert {"model", "device"} <= read
    needs = {name for name in read if not hasattr(cls, name)}
    assert needs <= {"model", "image_processing"}  # what a subclass has to bring


@pytest.mark.parametrize(("headers", "profiles"), [({}, False), ({}, True), ({"describe": "True"}, False)])
def test_it_loads_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str], profiles: bool
) -> None:
    (tmp_path / "net_without_init.py").write_text(MODEL)
    (tmp_path / "handler_without_init.py").write_text(HANDLER)
    monkeypatch.syspath_prepend(str(tmp_path))
    if profiles:
        monkeypatch.setenv("ENABLE_TORCH_PROFILER", "1")
        monkeypatch.setattr("torchserve.core.handlers.profiling._FOLDER", tmp_path / "traces")
    context = Context("m", str(tmp_path), {"model": {}}, 1, None, "0", metrics=MetricsEmitter("m"))
    handle = load_entry_point("handler_without_init.py", context)
    context.request_ids = {0: "r"}
    context.request_processor = [RequestProcessor(headers)]
    assert handle([{"body": b"3"}], context) == ([None] if headers else [6.0])


def test_nothing_is_shared_by_two_handlers() -> None:
    class Mine(BaseHandler):
        def __init__(self) -> None:
            pass

    mine: Any = Mine()
    with pytest.raises(TypeError, match="does not support item assignment"):
        mine.model_yaml_config["a"] = 1
    assert not hasattr(mine, "model")
    assert torch.equal(mine.preprocess([1, 2]), torch.tensor([1, 2]))
