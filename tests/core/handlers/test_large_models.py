"""What handlers of large models start from, without the packages: deepspeed is stood in for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from torchserve.core.handlers.batch_streamer import TextIteratorStreamerBatch
from torchserve.core.handlers.context import Context
from torchserve.core.handlers.large_models import (
    BaseDeepSpeedHandler,
    BasePippyHandler,
    get_ds_engine,
    get_pipeline_driver,
    initialize_rpc_workers,
)


def make_context(folder: Path, **config: object) -> Context:
    return Context("m", str(folder), {"model": {}}, 1, None, "0", model_yaml_config=dict(config))


def test_a_rank_knows_its_gpu(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    handler = BaseDeepSpeedHandler()
    handler.initialize(make_context(tmp_path))
    assert handler.device == 3


def test_the_engine_gets_what_the_yaml_says(tmp_path: Path, monkeypatch) -> None:
    module, asked = ModuleType("deepspeed"), {}
    module.init_inference = lambda model, **options: asked.update(options) or f"engine of {model}"
    monkeypatch.setitem(sys.modules, "deepspeed", module)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.bin").touch()
    (tmp_path / "ds.json").write_text("{}")
    options = {"config": "ds.json", "checkpoint": "checkpoints.json"}
    where = {"model_path": str(tmp_path / "weights")}
    assert get_ds_engine("it", make_context(tmp_path, deepspeed=options, handler=where)) == "engine of it"
    assert asked["config"] == str(tmp_path / "ds.json")
    assert asked["base_dir"] == where["model_path"]
    told = json.loads((tmp_path / "checkpoints.json").read_text())
    assert told == {"type": "ds_model", "checkpoints": [str(tmp_path / "weights" / "a.bin")], "version": 1.0}
    with pytest.raises(ValueError, match="no deepspeed config file"):
        get_ds_engine("it", make_context(tmp_path, deepspeed={"config": "none.json"}, handler=where))
    with pytest.raises(ValueError, match="no deepspeed config in"):
        get_ds_engine("it", make_context(tmp_path))


@pytest.mark.parametrize(
    "call",
    [
        lambda context: BasePippyHandler().initialize(context),
        lambda context: initialize_rpc_workers(0, 1, context),
        lambda context: get_pipeline_driver(None, 1, context),
    ],
)
def test_what_has_replaced_pippy_is_told(tmp_path: Path, call) -> None:
    with pytest.raises(RuntimeError, match=r"torch.distributed.pipelining"):
        call(make_context(tmp_path))


class Streamer:
    def __init__(self, tokenizer, skip_prompt, timeout, **options) -> None:
        self.values = []

    def put(self, value) -> None:
        self.values.append(str(value))

    def end(self) -> None:
        self.values.append(None)

    def __iter__(self):
        return iter(iter(self.values).__next__, None)


class Rows(list):
    @property
    def shape(self) -> tuple[int]:
        return (len(self),)


def test_texts_of_a_batch_are_streamed_together(monkeypatch) -> None:
    module = ModuleType("transformers")
    module.TextIteratorStreamer = Streamer
    monkeypatch.setitem(sys.modules, "transformers", module)
    streamer = TextIteratorStreamerBatch("tokenizer", 2)
    streamer.put(Rows([1, 2]))
    streamer.put(Rows([3, 4]))
    streamer.end()
    assert list(streamer) == [[{"text": "[1]"}, {"text": "[2]"}], [{"text": "[3]"}, {"text": "[4]"}]]
    with pytest.raises(ValueError, match="a batch of 2"):
        streamer.put(Rows([1]))
