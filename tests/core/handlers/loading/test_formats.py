"""Models of torch.export, AOTInductor and torch.compile behind the default handler."""

from __future__ import annotations

import logging
import shutil
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from torchserve.core.handlers.base import BaseHandler
from torchserve.core.handlers.context import Context, RequestProcessor
from torchserve.core.handlers.loading import formats
from torchserve.core.handlers.loading.pt2 import check_valid_pt2_backend, compile_options

NET = """
import torch
class Net(torch.nn.Module):
    def forward(self, x):
        return x * 2 + 1
"""


class Plain(BaseHandler):
    pass


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([2.0, 3.0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.weight


@pytest.fixture(scope="module")
def program() -> Any:
    batch = torch.export.Dim("batch", min=1, max=64)
    return torch.export.export(Net().eval(), (torch.ones(2, 2),), dynamic_shapes=({0: batch},))


@pytest.fixture(scope="module")
def package(program: Any, tmp_path_factory) -> Path:
    if shutil.which("g++") is None:
        pytest.skip("AOTInductor needs g++")
    from torch import _inductor

    path = tmp_path_factory.mktemp("aot") / "compiled.pt2"
    quickly = {"aot_inductor.compile_wrapper_opt_level": "O0"}
    return Path(_inductor.aoti_compile_and_package(program, package_path=str(path), inductor_configs=quickly))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Iterator[Path]:
    (tmp_path / "formatnet.py").write_text(NET)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("formatnet", None)


def predict(folder: Path, rows: list, pt2: Any = None, **model: str) -> Any:
    config = {} if pt2 is None else {"pt2": pt2}
    context = Context("m", str(folder), {"model": model}, 1, None, "0", model_yaml_config=config)
    context.request_processor = [RequestProcessor({})]
    handler = Plain()
    handler.initialize(context)
    return handler.handle(rows, context)


def test_an_exported_program(program: Any, folder: Path) -> None:
    torch.export.save(program, folder / "net.pt2")
    assert predict(folder, [[1.0, 1.0]] * 3, serializedFile="net.pt2") == [[2.0, 3.0]] * 3


@pytest.mark.timeout(300)
@pytest.mark.thorough
def test_what_aotinductor_has_compiled(package: Path, folder: Path) -> None:
    shutil.copy(package, folder / "net.pt2")
    assert predict(folder, [[1.0, 1.0]] * 3, serializedFile="net.pt2") == [[2.0, 3.0]] * 3
    with zipfile.ZipFile(package) as content:
        library = next(name for name in content.namelist() if name.endswith(".so"))
        (folder / "net.so").write_bytes(content.read(library))
    asked = {"export": {"aot_compile": True}}
    assert predict(folder, [[1.0, 1.0]] * 3, asked, serializedFile="net.so") == [[2.0, 3.0]] * 3


@pytest.mark.thorough
def test_for_another_device(package: Path) -> None:
    with pytest.raises(
        RuntimeError, match=r"package is compiled for cpu, and this worker has cuda|is compiled for cpu"
    ):
        formats.load_package(str(package), torch.device("cuda", 0))


@pytest.mark.parametrize("asked", [None, {"export": {"aot_compile": False}}, {"export": True}, "inductor"])
def test_a_library_is_loaded_only_if_the_yaml_says_so(folder: Path, asked: Any) -> None:
    (folder / "net.so").write_bytes(b"")
    with pytest.raises(RuntimeError, match=r"net.so needs pt2: \{export: \{aot_compile: true\}\}"):
        predict(folder, [[1.0]], asked, serializedFile="net.so")


def test_what_is_no_package(folder: Path) -> None:
    (folder / "net.pt2").write_bytes(b"weights")
    with pytest.raises(RuntimeError, match=r"net.pt2 is no .pt2 package"):
        predict(folder, [[1.0]], serializedFile="net.pt2")


@pytest.mark.parametrize(
    ("pt2", "options"),
    [
        (None, None),
        ("inductor", {"backend": "inductor"}),
        ("warp_drive", None),
        ({"backend": "eager", "mode": "x"}, {"backend": "eager", "mode": "x"}),
        ({"backend": "warp_drive"}, None),
        ({"mode": "reduce-overhead"}, {"mode": "reduce-overhead"}),
        ({"compile": {"enable": True}}, {}),
        (
            {"compile": {"enable": True, "backend": "inductor", "fullgraph": True}},
            {"backend": "inductor", "fullgraph": True},
        ),
        ({"compile": {"enable": True, "backend": "warp_drive"}}, None),
        ({"compile": {"enable": False, "backend": "inductor"}}, None),
        ({"compile": {"backend": "inductor"}}, None),
        ({"export": {"aot_compile": True}}, None),
    ],
)
def test_what_the_yaml_says(pt2: Any, options: Any, caplog) -> None:
    assert compile_options(pt2) == options
    assert ("warp_drive is not a supported backend" in caplog.text) == ("warp_drive" in str(pt2))


@pytest.mark.parametrize(("pt2", "text"), [(5, "str or dict, not 5"), ({"compile": "yes"}, "mapping, not 'yes'")])
def test_what_the_yaml_can_not_say(pt2: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        compile_options(pt2)


def test_back_ends() -> None:
    assert check_valid_pt2_backend("openvino")
    assert not check_valid_pt2_backend("Inductor")


def test_a_compiled_model_answers(folder: Path, caplog) -> None:
    with caplog.at_level(logging.INFO):
        asked = {"compile": {"enable": True, "backend": "eager"}}
        assert predict(folder, [[1.0]], asked, modelFile="formatnet.py") == [[3.0]]
    assert "Compiled model with backend eager" in caplog.text


@pytest.mark.filterwarnings("ignore")
def test_what_can_not_be_compiled_runs_as_it_is(folder: Path, monkeypatch, caplog) -> None:
    asked = {"backend": "eager", "mode": "default", "options": {"a": True}}
    assert predict(folder, [[1.0]], asked, modelFile="formatnet.py") == [[3.0]]
    assert "Proceeding without compilation" in caplog.text
    from torch import _dynamo

    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no kernel for this")

    monkeypatch.setitem(_dynamo.backends.registry._COMPILER_FNS, "aot_eager", broken)
    assert predict(folder, [[1.0]], "aot_eager", modelFile="formatnet.py") == [[3.0]]


def test_only_modules_are_compiled(caplog) -> None:
    assert formats.compiled(len, {}, torch.device("cpu")) is len
    assert "a builtin_function_or_method can't be compiled" in caplog.text
