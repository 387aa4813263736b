"""The fork server that is started before the front is: what it imports is read from archives, and it is used only if
workers can be forked from it.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from torchserve.core.config.settings import Settings
from torchserve.core.workers import early_fork_server, process_ahead
from torchserve.core.workers.early_fork_server import begin, handler_modules, take
from torchserve.core.workers.fork_server import ForkServer
from torchserve.core.workers.fork_server_process import ForkServerProcess, inherited
from torchserve.core.workers.preloads import Preloads
from torchserve.core.workers.process_ahead import end_ahead, start_ahead, take_ahead

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


class Ahead(ForkServerProcess):
    """A process that is not started, but was: it has an environment, and records what becomes of it."""

    made: ClassVar[list[Ahead]] = []
    dead = False

    def __init__(self, python: str, environment: Mapping[str, str], modules: Sequence[str] = ()) -> None:
        self.python, self.environment, self.inherited = python, dict(environment), inherited()
        self.told, self.ended = [tuple(modules)] if modules else [], False
        self.made.append(self)

    def preload(self, modules: Sequence[str]) -> None:
        if self.dead:
            raise BrokenPipeError
        self.told.append(tuple(modules))

    def end(self) -> None:
        self.ended = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Ahead]]:
    """All processes of a start."""
    monkeypatch.setattr(early_fork_server, "ForkServerProcess", Ahead)
    monkeypatch.setattr(process_ahead, "ForkServerProcess", Ahead)
    monkeypatch.setattr(Ahead, "made", [])
    yield Ahead.made
    while take() is not None:
        pass
    assert take_ahead() is None


def begun_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start a process before the settings are read, as a server in the background does."""
    monkeypatch.setenv("TORCHSERVE_REPORT_FD", "3")
    start_ahead(without=("TORCHSERVE_REPORT_FD",))
    monkeypatch.delenv("TORCHSERVE_REPORT_FD")  # once it is read


@pytest.mark.parametrize("handler", ["import torch", "import json"])
def test_a_process_that_was_started_ahead_is_used_or_ended(
    tmp_path: Path, made: list[Ahead], monkeypatch: pytest.MonkeyPatch, handler: str
) -> None:
    begun_ahead(monkeypatch)
    pack(tmp_path / "m.mar", "handler", {"handler.py": handler})
    begin(Settings(model_store=tmp_path, load_models=("m.mar",)))
    (ahead,) = made
    if handler == "import torch":
        assert take() is ahead
        assert (ahead.told, ahead.ended) == ([("torch",)], False)
    else:
        assert take() is None
        assert (ahead.told, ahead.ended) == ([], True)


@pytest.mark.parametrize("how", ["python", "environment", "folder", "dead"])
def test_one_that_is_not_what_the_settings_want_is_replaced(
    tmp_path: Path, made: list[Ahead], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    pack(tmp_path / "m.mar", "handler", {"handler.py": "import torch"})
    monkeypatch.setenv("SECRET", "1")
    begun_ahead(monkeypatch)
    changes: dict[str, Any] = {}
    if how == "python":
        changes = {"python": "/usr/bin/another"}
    elif how == "environment":
        changes = {"blacklist_env_vars": "SECRET"}
    elif how == "folder":
        monkeypatch.chdir(tmp_path)
    else:
        made[0].dead = True
    begin(Settings(model_store=tmp_path, load_models=("m.mar",), **changes))
    ahead, new = made
    assert (ahead.told, ahead.ended) == ([], True)
    assert take() is new
    assert (new.told, new.python) == ([("torch",)], changes.get("python", sys.executable))


def test_one_that_nobody_has_asked_for_is_ended(made: list[Ahead], monkeypatch: pytest.MonkeyPatch) -> None:
    begun_ahead(monkeypatch)
    end_ahead()
    assert made[0].ended
    end_ahead()


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
