"""The fork server that is started before the front is: what it imports is read from archives, and it is used only if
workers can be forked from it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from torchserve.core.config.settings import Settings
from torchserve.core.workers import early_fork_server
from torchserve.core.workers.early_fork_server import begin, handler_modules, take
from torchserve.core.workers.fork_server import ForkServer
from torchserve.core.workers.fork_server_process import ForkServerProcess
from torchserve.core.workers.preloads import Preloads

BASE = "ts.torch_handler.base_handler"


@pytest.fixture
def began(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, ...]]]:
    """What each process is told to import, none of which is started."""
    told: list[tuple[str, ...]] = []

    def start(python: str, environment: Any, modules: tuple[str, ...]) -> str:
        told.append(modules)
        return "process"

    monkeypatch.setattr(early_fork_server, "ForkServerProcess", start)
    yield told
    while take() is not None:
        pass


def pack(path: Path, handler: str | None, files: dict[str, str], *, method: int = zipfile.ZIP_DEFLATED) -> Path:
    model = {} if handler is None else {"handler": handler}
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("MAR-INF/MANIFEST.json", json.dumps({"model": model}))
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_an_archive_tells_what_its_handler_imports(tmp_path: Path) -> None:
    own = pack(
        tmp_path / "own.mar", "handler.py:handle", {"handler.py": f"import numpy\nfrom {BASE} import BaseHandler"}
    )
    assert handler_modules(own) == ("numpy", BASE)
    assert handler_modules(pack(tmp_path / "built_in.mar", "image_classifier", {})) == (
        "ts.torch_handler.image_classifier",
    )
    assert handler_modules(pack(tmp_path / "none.mar", "handler", {"handler.py": "import json"})) == ()
    folder = tmp_path / "folder"
    (folder / "MAR-INF").mkdir(parents=True)
    (folder / "MAR-INF" / "MANIFEST.json").write_text('{"model": {"handler": "handler"}}')
    (folder / "handler.py").write_text("import torch")
    assert handler_modules(folder) == ("torch",)


def test_a_start_imports_what_any_of_its_models_needs(tmp_path: Path, began: list[tuple[str, ...]]) -> None:
    pack(tmp_path / "plain.mar", "handler", {"handler.py": "import json"})
    pack(tmp_path / "torch.mar", "handler", {"handler.py": "import torch"})
    (tmp_path / "torn.mar").write_bytes((tmp_path / "torch.mar").read_bytes()[:100])
    pack(tmp_path / "bare.mar", None, {})
    pack(tmp_path / "packed.mar", "handler", {"handler.py": "import torch"}, method=zipfile.ZIP_LZMA)
    entries = ("plain.mar", "a=torn.mar", "bare.mar", "packed.mar", "gone.mar", "b=torch.mar")
    begin(Settings(model_store=tmp_path, load_models=entries))
    assert began == [("torch",)]
    assert take() == "process"
    assert take() is None
    begin(Settings(model_store=tmp_path, load_models=("all",)))
    assert began == [("torch",)] * 2


@pytest.mark.parametrize(
    "changes",
    [
        {"load_models": ("plain.mar",)},
        {"load_models": ()},
        {"fork_workers": False},
        {"engine": "ray"},
        {"model_store": None},
        {"blacklist_env_vars": "("},
    ],
)
def test_a_start_that_gains_nothing_imports_nothing(
    tmp_path: Path, began: list[tuple[str, ...]], changes: dict[str, Any]
) -> None:
    pack(tmp_path / "plain.mar", "handler", {"handler.py": "import json"})
    pack(tmp_path / "torch.mar", "handler", {"handler.py": "import torch"})
    begin(Settings(**{"model_store": tmp_path, "load_models": ("torch.mar",), **changes}))
    assert began == []
    assert take() is None


async def test_its_workers_are_forked_from_it(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    early = ForkServerProcess(sys.executable, dict(os.environ), ("json_of_nobody", "numpy"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))  # as a server changes its own while it starts
    server = ForkServer(sys.executable, early)
    try:
        process = await server.fork("W-1-m", dict(os.environ), lambda *_: None, Preloads(("numpy",), ()))
        assert server.pid == early.popen.pid
        process.kill()
        await process.exited
        process.abandon()
        if process.results is not None:
            process.results.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        await server.close()


@pytest.mark.parametrize("how", ["environment", "dead", "unused"])
async def test_one_that_is_of_no_use_is_ended(how: str) -> None:
    early = ForkServerProcess(sys.executable, {**os.environ, **({"ONE": "more"} if how == "environment" else {})})
    if how == "dead":
        early.popen.kill()
        early.popen.wait()
    server = ForkServer(sys.executable, early)
    if how != "unused":
        assert server._take_early(dict(os.environ)) is None
    await server.close()
    assert early.popen.poll() is not None
