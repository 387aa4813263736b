"""A context with which a handler can be tested without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .context import Context
from .model_call import ModelAnswer, ModelCallFailed, ModelOrder
from .yaml_config import get_yaml_config


class MockContext(Context):
    """A context whose manifest names these files.

    The attribute `explain` is returned as the request header `explain`. `gpu_id` is used only if CUDA is available.
    What the handler asks of other models is answered by the functions in `models`, by the models' names: each gets the
    data and returns what a model's handler may return for one request, or raises ModelCallFailed.
    """

    def __init__(
        self,
        model_pt_file: str | None = "model.pt",
        model_dir: str = "ts/torch_handler/unit_tests/models/tmp",
        model_file: str | None = "model.py",
        gpu_id: str | int | None = "0",
        model_name: str = "mnist",
        model_yaml_config_file: str | None = None,
    ) -> None:
        described = {"serializedFile": model_pt_file, "modelFile": model_file}
        manifest = {"model": {key: value for key, value in described.items() if value}}
        gpu = int(gpu_id) if gpu_id is not None and torch.cuda.is_available() else None
        config = get_yaml_config(str(Path(model_dir, model_yaml_config_file))) if model_yaml_config_file else None
        super().__init__(model_name, model_dir, manifest, 1, gpu, "", model_yaml_config=config)
        self.request_ids = {0: "0"}
        self.models: dict[str, Callable[[Any], Any]] = {}
        self.begin_call = self._answer_call

    def get_request_header(self, idx: int, key: str) -> Any:
        return str(bool(self.explain)) if key == "explain" else False

    def _answer_call(self, order: ModelOrder) -> _Answered:
        function = self.models.get(order.model)
        if function is None:
            raise ModelCallFailed(f"Model not found: {order.model} (MockContext.models has {sorted(self.models)})", 404)
        return _Answered(function(order.data))


class _Answered:
    """A call that has its answer."""

    def __init__(self, value: Any) -> None:
        if isinstance(value, str):
            self._answer = ModelAnswer(value.encode())
        elif isinstance(value, bytes | bytearray):
            self._answer = ModelAnswer(value)
        else:
            self._answer = ModelAnswer(json.dumps(value).encode())

    async def answer(self) -> ModelAnswer:
        return self._answer

    def answer_blocking(self) -> ModelAnswer:
        return self._answer
