"""lint: each thing that is found, on the smallest archive that has it; and what is right is left alone."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from torchserve.core.archive.reader import open_archive
from torchserve.core.config import model_options
from torchserve.core.lint.archive import KEYS, lint

HANDLE = "def handle(data, context):\n    return data\n"
BASE = "from ts.torch_handler.base_handler import BaseHandler\n"


def issues(folder: Path, files: dict[str, str | bytes], manifest: dict[str, Any] | None) -> list[str]:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    if manifest is not None:
        (folder / "MAR-INF").mkdir()
        model = {"modelName": "m", "handler": "handler.py", **manifest}
        if "model-config.yaml" in files:
            model["configFile"] = "model-config.yaml"
        document = {"runtime": "python", "model": {key: value for key, value in model.items() if value is not None}}
        (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(document))
    return [str(issue) for issue in lint(open_archive(folder, folder / "scratch"))]


@pytest.mark.parametrize(
    "source",
    [
        HANDLE,
        "def handle(data, context, more=None): ...\n",
        "def handle(*everything): ...\n",
        "class A:\n    def initialize(self, context): ...\n    def handle(self, data, context): ...\n",
        "class A:\n    @staticmethod\n    def handle(data, context): ...\n",
        f"{BASE}class A(BaseHandler):\n    def handle(self, data, ctx): ...\nclass Helper: ...\n",
        "import json, torch.nn, numpy as np\nfrom helper import handle\n",
        "try:\n    import no_such_module\nexcept ImportError:\n    pass\n" + HANDLE,
        HANDLE + "def late():\n    import no_such_module\n",
        HANDLE
        + "import yaml, torch\nyaml.load('', Loader=yaml.SafeLoader)\ntorch.load('w')\nmodel = torch.nn.Linear(1, 1).eval()\n",
    ],
)
def test_what_is_right(tmp_path: Path, source: str) -> None:
    files = {"handler.py": source, "helper.py": HANDLE, "model-config.yaml": "batchSize: 2\nmine: {depth: 1}\n"}
    assert issues(tmp_path, files, {}) == []


HANDLERS = [
    ("def handle(data, context:\n", ["error: handler.py:1: SyntaxError: '(' was never closed"]),
    ("x = 1\n", ["error: handler.py: no function handle(data, context), and no class that has one"]),
    ("def handle(data): ...\n", ["error: handler.py:1: handle can't be called as handle(data, context)"]),
    ("def handle(data, context, more): ...\n", ["error: handler.py:1: handle can't be called as handle(data, context)"]),
    ("def handle(data, context, *, key): ...\n", ["error: handler.py:1: handle can't be called as handle(data, context)"]),
    (
        "class A:\n    def handle(self, data): ...\n    def initialize(self): ...\n",
        [
            "error: handler.py:2: handle can't be called as handle(self, data, context)",
            "error: handler.py:3: initialize can't be called as initialize(self, context)",
        ],
    ),
    (
        f"{BASE}class A(BaseHandler): ...\nclass B(A): ...\n",
        ["error: handler.py:3: several classes have a handle(data, context): A, B; the server takes the only one of a file"],
    ),
    (
        "from helper import Mine\nclass A(Mine): ...\n",
        ["warning: handler.py: it can't be told by reading whether one of A has a handle(data, context)"],
    ),
    (
        "async def handle(data, context): ...\n",
        ["error: handler.py:1: async def handle is not awaited without asyncCommunication: true in model-config.yaml"],
    ),
    (
        "import no_such_module\n" + HANDLE,
        ["warning: handler.py:1: no module 'no_such_module' is installed here, and no requirements.txt of the archive names it"],
    ),
    (
        "from ts.torch_handler.densenet_handler import DenseNetHandler\n" + HANDLE,
        ["error: handler.py:1: TorchServe's ts.torch_handler.densenet_handler.DenseNetHandler is not part of this server"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("source", "told"), HANDLERS)
def test_handlers(tmp_path: Path, source: str, told: list[str]) -> None:
    assert issues(tmp_path, {"handler.py": source, "helper.py": "class Mine: ...\n"}, {}) == told


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("eval('1')", "eval runs text as code"),
        ("os.system('ls')", "os.system starts another program"),
        ("sp.run(['ls'])", "subprocess.run starts another program"),
        ("popen('ls')", "os.popen starts another program"),
        ("pickle.loads(data)", "pickle.loads runs whatever code the pickle holds"),
        ("torch.load(f, weights_only=False)", "torch.load(weights_only=False) runs whatever code the file holds"),
        ("torch.hub.load('a', 'b')", "torch.hub.load downloads code, and runs it"),
        ("yaml.load(f, Loader=yaml.Loader)", "yaml.load without a SafeLoader runs whatever code the YAML holds"),
        ("AutoModel.from_pretrained(x, trust_remote_code=True)", "AutoModel.from_pretrained with trust_remote_code runs code that it downloads"),
        ("breakpoint()", "breakpoint waits for nobody: a worker has no terminal (`torchserve predict` has)"),
        ("signal.signal(1, 1)", "signal.signal takes a signal from the worker"),
    ],
)  # fmt: skip
def test_calls(tmp_path: Path, line: str, text: str) -> None:
    source = f"import os, signal, pickle, torch, yaml\nimport subprocess as sp\nfrom os import popen\n{HANDLE}def f(data):\n    {line}\n"
    assert issues(tmp_path, {"handler.py": source}, {}) == [f"warning: handler.py:7: {text}"]


@pytest.mark.parametrize(
    ("files", "manifest", "told"),
    [
        ({}, {}, "error: MAR-INF/MANIFEST.json: handler 'handler.py' is neither a file of the archive nor one of base_handler,"),
        ({}, None, "warning: MAR-INF/MANIFEST.json: there is none: name and handler must come with the registration"),
        ({}, {"handler": None}, "warning: MAR-INF/MANIFEST.json: it names no handler"),
        ({"handler.py": HANDLE}, {"serializedFile": "w.pt"}, "error: MAR-INF/MANIFEST.json: serializedFile 'w.pt' is not in the archive"),
        ({"handler.py": HANDLE}, {"modelFile": "net.py"}, "error: MAR-INF/MANIFEST.json: modelFile 'net.py' is not in"),
        ({"handler.py": HANDLE}, {"requirementsFile": "r.txt"}, "error: MAR-INF/MANIFEST.json: requirementsFile 'r.txt' is not in"),
        ({"p/h.py": HANDLE}, {"handler": "p.h:other"}, "error: p/h.py: it has no function 'other'"),
        ({"p/__init__.py": "x = 1\n"}, {"handler": "p"}, "error: p/__init__.py: no function handle(data, context)"),
        ({"handler.py": f"from .net import A\n{HANDLE}"}, {}, "error: handler.py:1: the archive has no net.py, which a relative"),
        ({"handler.py": f"from .p.net import A\n{HANDLE}"}, {}, "error: handler.py:1: the archive has no p.py, which a relative"),
        ({"handler.py": HANDLE, "p/x.py": "from ..net import A\n"}, {}, "error: p/x.py:1: the archive has no net.py, which"),
        ({"handler.py": f"from ..net import A\n{HANDLE}"}, {}, "error: handler.py:1: an import with 2 dots leads out of the archive"),
        ({"handler.py": HANDLE}, {"handler": "handler.py:other"}, "error: handler.py: it has no function 'other'"),
        ({}, {"handler": "image_classifier"}, "error: MAR-INF/MANIFEST.json: image_classifier needs weights"),
        ({"handler.py": HANDLE, "model-config.yaml": "batchSize: many\n"}, {}, "warning: model-config.yaml: batchSize must be a whole number"),
        ({"handler.py": HANDLE, "model-config.yaml": "batchsize: 2\n"}, {}, "warning: model-config.yaml: 'batchsize' has no meaning for the server; 'batchSize' has"),
        ({"handler.py": HANDLE, "model-config.yaml": "handler: {weights_only: false}\n"}, {}, "warning: model-config.yaml: weights_only: false: whoever"),
        ({"handler.py": HANDLE, "index_to_name.json": "[1]"}, {}, "error: index_to_name.json: it must be an object"),
        ({"handler.py": HANDLE, "index_to_name.json": "{"}, {}, "error: index_to_name.json: it is not JSON"),
        ({"handler.py": HANDLE, "__pycache__/a.pyc": ""}, {}, "warning: __pycache__: nothing that a model needs"),
        ({"handler.py": HANDLE, "r.txt": "numpy\n"}, {"requirementsFile": "r.txt"}, "warning: r.txt:1: 'numpy' names no version"),
        ({"handler.py": HANDLE, "r.txt": "# x\nhttps://a/b.whl\n"}, {"requirementsFile": "r.txt"}, "warning: r.txt:2: 'https://a/b.whl' "),
        ({"handler.py": HANDLE, "sub/deep/x.py": "import os\nos.fork()\n"}, {}, "warning: sub/deep/x.py:2: os.fork forks the worker"),
        ({"handler.py": HANDLE, "a.py": b"\0"}, {}, "error: a.py: "),
        ({"handler.py": HANDLE, "a.pkl": pickle.dumps([1])}, {}, "warning: a.pkl: a pickle may run code when it is loaded"),
    ],
)  # fmt: skip
def test_the_rest_of_an_archive(tmp_path: Path, files: dict[str, Any], manifest: Any, told: str) -> None:
    found = issues(tmp_path, files, manifest)
    assert any(issue.startswith(told) for issue in found), found


@pytest.mark.parametrize("handler", ["p.h", "p.h:handle", "q"])
def test_relative_imports_and_handlers_in_packages(tmp_path: Path, handler: str) -> None:
    source = f"from . import net\nfrom .net import A\nfrom ..top import B\n{HANDLE}"
    files: dict[str, str | bytes] = {
        "p/h.py": source,
        "p/net.py": "",
        "top.py": "from .p.net import A\n",
        "q/__init__.py": HANDLE,
    }
    assert issues(tmp_path, files, {"handler": handler}) == []


def test_requirements_excuse_imports(tmp_path: Path) -> None:
    files = {"handler.py": "import no_such_module\n" + HANDLE, "r.txt": "No_Such-Module==1.0\n"}
    assert issues(tmp_path, files, {"requirementsFile": "r.txt"}) == []


class Evil:
    def __reduce__(self) -> Any:
        import os

        return os.system, ("true",)


class Net(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def script(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(torch.nn.Linear(1, 1), torch.ones(1)).save(str(path))


STATE = torch.nn.Linear(2, 1).state_dict()


@pytest.mark.parametrize(
    ("save", "model", "config", "told"),
    [
        (lambda path: torch.save(STATE, path), {"modelFile": "net.py"}, "", []),
        (script, {}, "", []),
        (lambda path: torch.save(STATE, path), {}, "", ["error: w.pt: it is a state dict, and no --model-file has the model's class"]),
        (script, {"modelFile": "net.py"}, "", ["error: w.pt: it is TorchScript, which needs no --model-file; with one a state dict is expected"]),
        (
            lambda path: torch.save(Net(), path), {"modelFile": "net.py"}, "",
            ["error: w.pt: it holds objects (", "which are refused: save model.state_dict()"],
        ),
        (
            lambda path: torch.save(Net(), path), {"modelFile": "net.py"}, "handler: {weights_only: false}\n",
            ["warning: w.pt: it holds objects (", "which weights_only: false lets in"],
        ),
        (lambda path: torch.save({"a": Evil()}, path), {"modelFile": "net.py"}, "", ["error: w.pt: it runs code when it is loaded: posix.system"]),
        (
            lambda path: torch.save({"a": Evil()}, path, pickle_protocol=4), {"modelFile": "net.py"}, "",
            ["error: w.pt: it runs code when it is loaded: posix.system"],
        ),
        (lambda path: path.write_bytes(pickle.dumps(Evil())), {"modelFile": "net.py"}, "", ["error: w.pt: it runs code when it is loaded: posix.system"]),
        (lambda path: path.write_bytes(b"junk"), {"modelFile": "net.py"}, "", []),
    ],
)  # fmt: skip
def test_weights(tmp_path: Path, save: Any, model: dict[str, str], config: str, told: list[str]) -> None:
    save(tmp_path / "w.pt")
    files = {"net.py": "class Net: ...\n", "model-config.yaml": config}
    found = issues(tmp_path, files, {"handler": "base_handler", "serializedFile": "w.pt", **model})
    found = [issue for issue in found if "w.pt" in issue]
    assert len(found) == bool(told)
    assert all(text in found[0] for text in told)


def test_an_exported_program_has_another_ending(tmp_path: Path) -> None:
    program = torch.export.export(Net(), (torch.ones(1),))
    torch.export.save(program, tmp_path / "w.pt2")
    (tmp_path / "w.pt2").rename(tmp_path / "w.pt")
    found = issues(tmp_path, {}, {"handler": "base_handler", "serializedFile": "w.pt"})
    assert found == ["error: w.pt: it is a package of torch.export or AOTInductor: call it .pt2"]


def test_a_handler_that_leaves_the_loading_to_base_handler(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pt")
    found = issues(tmp_path, {"handler.py": f"{BASE}class A(BaseHandler): ...\n"}, {"serializedFile": "w.pt"})
    assert found == ["error: w.pt: it is a state dict, and no --model-file has the model's class"]


def test_every_key_of_the_yaml_is_known() -> None:
    """Those that the configuration's code looks up by name."""
    folder = Path(model_options.__file__).parent
    texts = "".join(path.read_text() for path in folder.glob("*.py"))
    asked = set(re.findall(r'(?:config|top)\.get\("([a-z]+[A-Z]\w*)"', texts)) | set(model_options._WHOLE_KEYS)
    assert len(asked) > 10
    assert asked <= set(KEYS)


def test_errors_come_first(tmp_path: Path) -> None:
    files = {"handler.py": "import os\nos.fork()\ndef handle(data): ...\n"}
    assert [issue.partition(":")[0] for issue in issues(tmp_path, files, {})] == ["error", "warning"]


@pytest.mark.parametrize(
    "handler", ["language_model", "text_embedder", "vllm_handler", "ts.torch_handler.child_engine"]
)
def test_handlers_whose_yaml_names_the_weights_need_none_in_the_archive(tmp_path: Path, handler: str) -> None:
    files: dict[str, str | bytes] = {"model-config.yaml": "handler: {model_path: /weights}\n"}
    assert issues(tmp_path, files, {"handler": handler}) == []
