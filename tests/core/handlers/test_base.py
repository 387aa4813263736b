"""BaseHandler: which model it loads onto which device, and the order in which it runs its hooks."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from torchserve.core.handlers import profiling
from torchserve.core.handlers.base import BaseHandler, pick_device
from torchserve.core.handlers.context import Context, RequestProcessor
from torchserve.core.handlers.prediction_exception import PredictionException

NET = """
import torch
class Helper:
    pass
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2))
    def forward(self, x):
        return x * self.weight
"""


class Plain(BaseHandler):
    pass


@pytest.fixture
def model_dir(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    (tmp_path / "basenet.py").write_text(NET)
    (tmp_path / "twonets.py").write_text(NET + NET.replace("Net", "Other"))
    monkeypatch.syspath_prepend(str(tmp_path))
    import basenet

    net = basenet.Net()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([2.0, 3.0]))
    torch.save(net.state_dict(), tmp_path / "state.pt")
    torch.save(net, tmp_path / "whole.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(net, torch.ones(1, 2)).save(str(tmp_path / "script.pt"))
    yield tmp_path
    for name in ("basenet", "twonets"):
        sys.modules.pop(name, None)


def make_context(folder: Path, *, headers: dict[str, str] | None = None, config: Any = None, **model: str) -> Context:
    made = Context("m", str(folder), {"model": model}, 1, None, "0", model_yaml_config=config)
    made.request_ids = {0: "r"}
    made.request_processor = [RequestProcessor(headers or {})]
    return made


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    ("model", "factor"),
    [
        ({"modelFile": "basenet.py", "serializedFile": "state.pt"}, [2.0, 3.0]),
        ({"modelFile": "basenet.py"}, [1.0, 1.0]),
        ({"serializedFile": "script.pt"}, [2.0, 3.0]),
    ],
)
def test_loads_and_predicts(model_dir: Path, model: dict[str, str], factor: list[float]) -> None:
    handler = Plain()
    context = make_context(model_dir, **model)
    handler.initialize(context)
    assert handler.initialized
    assert not handler.model.training
    assert (str(handler.device), handler.map_location, handler.manifest) == ("cpu", "cpu", {"model": model})
    assert handler.handle([[1.0, 10.0]], context) == [[factor[0], 10 * factor[1]]]
    (sample,) = context.metrics.take()
    assert (sample.name, sample.unit) == ("HandlerTime", "Milliseconds")


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    ("model", "error", "text"),
    [
        ({}, RuntimeError, "No model weights could be loaded: expected a modelFile.* model: {}$"),
        ({"serializedFile": "w.bin"}, RuntimeError, "No model weights could be loaded.*'w.bin'"),
        ({"serializedFile": "nope.pt"}, RuntimeError, "nope.pt is missing"),
        ({"modelFile": "basenet.py", "serializedFile": "nope.pt"}, RuntimeError, "nope.pt is missing"),
        ({"modelFile": "nope.py", "serializedFile": "state.pt"}, RuntimeError, "nope.py is missing"),
        ({"modelFile": "twonets.py"}, ValueError, r"Expected only one class .*twonets.py defines \['Net', 'Other'\]"),
        (
            {"modelFile": "basenet.py", "serializedFile": "whole.pt"},
            RuntimeError,
            r"whole.pt is not a plain state dict.*torch.save\(model.state_dict\(\)",
        ),
    ],
)
def test_what_can_not_be_loaded_is_told(
    model_dir: Path, model: dict[str, str], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        Plain().initialize(make_context(model_dir, **model))


class Recipe:
    """Plain Python beside the weights, as checkpoints have it."""


def test_a_checkpoint_with_objects_needs_the_archives_word(model_dir: Path) -> None:
    state = {"weight": torch.tensor([5.0, 7.0]), "_recipe": Recipe()}
    torch.save(state, model_dir / "checkpoint.pt")
    files = {"modelFile": "basenet.py", "serializedFile": "checkpoint.pt"}
    with pytest.raises(RuntimeError, match=r"weights_only: false under handler: in model-config.yaml"):
        Plain().initialize(make_context(model_dir, **files))
    with pytest.raises(RuntimeError, match=r'Unexpected key.*"_recipe"'):  # it was read, and does not fit
        Plain().initialize(make_context(model_dir, config={"handler": {"weights_only": False}}, **files))
    with pytest.raises(ValueError, match="weights_only must be true or false, not 'no'"):
        Plain().initialize(make_context(model_dir, config={"handler": {"weights_only": "no"}}, **files))


def test_labels_come_from_index_to_name(model_dir: Path) -> None:
    (model_dir / "index_to_name.json").write_text('{"0": "cat"}')
    handler = Plain()
    handler.initialize(make_context(model_dir, modelFile="basenet.py"))
    assert handler.mapping == {"0": "cat"}


@pytest.mark.parametrize(
    ("gpu_id", "cuda", "xpu", "mps", "device"),
    [
        (None, True, True, True, "cpu"),
        (1, True, True, True, "cuda:1"),
        ("0", True, False, False, "cuda:0"),
        (1, False, True, True, "xpu:1"),
        (1, False, False, True, "mps"),
        (1, False, False, False, "cpu"),
    ],
)
def test_device_rules(monkeypatch, gpu_id, cuda: bool, xpu: bool, mps: bool, device: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    monkeypatch.setattr(torch.xpu, "is_available", lambda: xpu)
    monkeypatch.setenv("TS_IPEX_GPU_ENABLE", "true")
    assert str(pick_device(gpu_id)) == device


def test_xla_takes_the_place_of_the_cpu(monkeypatch, tmp_path: Path) -> None:
    package = tmp_path / "torch_xla" / "core"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "xla_model.py").write_text("def xla_device():\n    return 'xla:0'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert pick_device(None) == "xla:0"
    for name in ("torch_xla.core.xla_model", "torch_xla.core", "torch_xla"):
        sys.modules.pop(name, None)


class Recorder(BaseHandler):
    """Writes down which hooks run."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def preprocess(self, data: Any) -> Any:
        self.calls.append("preprocess")
        return data

    def inference(self, data: Any, *args: Any, **kwargs: Any) -> Any:
        self.calls.append("inference")
        return data

    def postprocess(self, data: Any) -> Any:
        self.calls.append("postprocess")
        return ["p"]

    def get_insights(self, tensor_data: Any, raw_input: Any, target: Any = 0) -> Any:
        self.calls.append("insights")
        return [raw_input, target]

    def describe_handle(self) -> Any:
        return {"a": 1}


@pytest.mark.parametrize(
    ("headers", "calls", "answer"),
    [
        ({}, ["preprocess", "inference", "postprocess"], ["p"]),
        ({"explain": "False", "describe": "False"}, ["preprocess", "inference", "postprocess"], ["p"]),
        ({"explain": "True"}, ["preprocess", "insights"], [b"x", 3]),
        ({"describe": "True", "explain": "True"}, [], [{"a": 1}]),
    ],
)
def test_what_the_headers_ask_for(tmp_path: Path, headers: dict[str, str], calls: list[str], answer: list) -> None:
    handler = Recorder()
    context = make_context(tmp_path, headers=headers)
    assert handler.handle([{"data": b"x", "target": b"3"}], context) == answer
    assert handler.calls == calls
    assert [sample.name for sample in context.metrics.take()] == ["HandlerTime"]
    assert handler.explain == ("insights" in calls)


@pytest.mark.parametrize(
    ("row", "inputs", "target"),
    [
        ({"data": {"target": 3}}, {"target": 3}, 0),
        ({"body": "x"}, "x", 0),
        ({"target": 5}, None, 5),
        ({"data": b"a", "target": "6"}, b"a", 6),
        ({"data": b"a", "target": bytearray(b"2")}, b"a", 2),
        ({"data": b"a", "target": [1, 2]}, b"a", [1, 2]),
        ([1.0, 2.0], None, 0),  # what an envelope makes of it
    ],
)
def test_explain_targets(row: dict, inputs: object, target: object) -> None:
    assert Recorder().explain_handle(None, [row]) == [inputs, target]


def test_a_handler_that_can_not_explain_says_so() -> None:
    with pytest.raises(PredictionException, match=r"Plain has no get_insights.* 501"):
        Plain().explain_handle(None, [{"data": b"x"}])


def test_a_target_that_is_no_number_is_the_clients_fault() -> None:
    with pytest.raises(PredictionException, match=r"a class, not 'cat'.* 400"):
        Recorder().explain_handle(None, [{"data": b"x", "target": bytearray(b"cat")}])


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({"handler": {"profile": True}}, ["ts_handler_preprocess", "ts_handler_inference", "ts_handler_postprocess"]),
        ({"handler": {"profile": False}}, []),
        ({"handler": None}, []),
        (None, []),
    ],
)
def test_profile_times_each_hook(model_dir: Path, config: Any, names: list[str]) -> None:
    handler = Plain()
    context = make_context(model_dir, config=config, modelFile="basenet.py")
    handler.initialize(context)
    handler.handle([[1.0, 1.0]], context)
    assert [sample.name for sample in context.metrics.take()] == [*names, "HandlerTime"]


def test_the_torch_profiler_is_used_when_asked_for(model_dir: Path, monkeypatch) -> None:
    seen: list[Any] = []
    monkeypatch.setenv("ENABLE_TORCH_PROFILER", "true")
    handler = Plain()
    context = make_context(model_dir, modelFile="basenet.py")
    handler.initialize(context)
    handler.profiler_args = {"activities": [torch.profiler.ProfilerActivity.CPU], "on_trace_ready": seen.append}
    assert handler.handle([[1.0, 1.0]], context) == [[1.0, 1.0]]
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("value", "archived", "registered"),
    [("true", "archived", "registered"), ("1", "", "registered"), ("yes", None, "registered")],
)
def test_the_trace_names_the_hooks_and_lies_where_torchserve_puts_it(
    model_dir: Path, monkeypatch, value: str, archived: str | None, registered: str
) -> None:
    monkeypatch.setenv("ENABLE_TORCH_PROFILER", value)
    name = archived and f"{archived}-{os.getpid()}"
    context = make_context(model_dir, modelFile="basenet.py", modelName=name)
    context.model_name = f"{registered}-{os.getpid()}"
    handler = Plain()
    handler.initialize(context)
    folder = Path("/tmp/pytorch_profiler", name or context.model_name)
    try:
        assert handler.handle([[1.0, 1.0]], context) == [[1.0, 1.0]]
        (trace,) = folder.glob("*.pt.trace.json")
        names = {event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}
        assert names >= {"preprocess", "inference", "postprocess", "aten::mul"}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("value", ["", "false", "0"])
def test_no_profile_is_made_for_a_no(model_dir: Path, monkeypatch, value: str) -> None:
    monkeypatch.setenv("ENABLE_TORCH_PROFILER", value)
    handler = Plain()
    context = make_context(model_dir, modelFile="basenet.py")
    handler.initialize(context)
    handler.profiler_args = {"on_trace_ready": lambda profile: pytest.fail("a profile was made")}
    handler.handle([[1.0, 1.0]], context)


@pytest.mark.parametrize("wrong", ["a link", "another user's"])
def test_traces_go_through_nothing_that_others_laid(tmp_path: Path, monkeypatch, wrong: str) -> None:
    top, victim = tmp_path / "pytorch_profiler", tmp_path / "victim"
    victim.mkdir()
    top.mkdir()
    monkeypatch.setattr(profiling, "_FOLDER", top)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert profiling.trace_folder(f"ours-{wrong}") == top / f"ours-{wrong}"
    model = f"theirs-{wrong}"
    if wrong == "a link":
        (top / model).symlink_to(victim)
    elif os.geteuid() == 0:
        os.chown(top, 54321, 54321)
    else:
        top.chmod(0o777)
    found = profiling.trace_folder(model)
    assert (found.parent, found.name.startswith("torchserve-profiler-")) == (tmp_path, True)
    assert profiling.trace_folder(model) == found
