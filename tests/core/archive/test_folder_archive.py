"""Folders and files as models: what is found out, what the folder keeps, and what is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from torchserve.core.archive.folder_archive import folder_archive
from torchserve.core.archive.handler_source import HandlerSource, find_handler
from torchserve.core.archive.reader import open_archive
from torchserve.core.errors import InvalidArchive

FUNCTION = "def handle(data, context): return data\n"
CLASS = "from ts.torch_handler.base_handler import BaseHandler\nclass Mine(BaseHandler):\n    pass\n"


def lay_out(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        path = folder / name.replace("__", ".").replace("_", "-")
        path.write_text(text)
    return folder


def opened(tmp_path: Path, source: Path, **options):
    made = folder_archive(source, tmp_path / "into", **options)
    return made, open_archive(made.folder, tmp_path / "scratch")


@pytest.mark.parametrize(
    ("files", "handler", "weights", "model"),
    [
        ({"handler__py": FUNCTION}, "handler.py", None, None),
        ({"mine__py": CLASS, "net__pt": ""}, "mine.py", "net.pt", None),
        ({"mine__py": CLASS, "model__py": "class Net: pass\n", "net__pth": ""}, "mine.py", "net.pth", "model.py"),
        ({"mine__py": CLASS, "a__pt": "", "b__pt": ""}, "mine.py", None, None),
        ({"handler__py": "def broken(\n", "other__py": CLASS}, "handler.py", None, None),
        ({"model__py": FUNCTION}, "model.py", None, None),
    ],
)
def test_what_is_found_out(tmp_path: Path, files: dict[str, str], handler: str, weights, model) -> None:
    made, archive = opened(tmp_path, lay_out(tmp_path / "cats", **files))
    found = archive.manifest
    assert (found.handler, found.serialized_file, found.model_file) == (handler, weights, model)
    assert (made.name, found.model_name) == ("cats", "cats")
    assert made.watched == tmp_path / "cats"
    assert (archive.model_dir / handler).resolve() == tmp_path / "cats" / handler


def test_a_file_is_the_handler_of_its_folder(tmp_path: Path) -> None:
    lay_out(tmp_path / "cats", one__py=FUNCTION, two__py=FUNCTION)
    made, archive = opened(tmp_path, tmp_path / "cats" / "two.py")
    assert (made.name, archive.manifest.handler) == ("two", "two.py")


def test_a_manifest_is_kept_but_for_the_handler_that_is_named(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "cats", mine__py=FUNCTION, my_own__yaml="batchSize: 3\n")
    (folder / "MAR-INF").mkdir()
    model = {"modelName": "lions", "modelVersion": "7", "handler": "mine.py", "configFile": "my-own.yaml"}
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"runtime": "python", "model": model}))
    made, archive = opened(tmp_path, folder)
    assert (made.name, archive.manifest.model_version, archive.manifest.handler) == ("lions", "7", "mine.py")
    assert archive.config == {"batchSize": 3}
    assert opened(tmp_path, folder, handler="base_handler")[1].manifest.handler == "base_handler"
    assert json.loads((folder / "MAR-INF" / "MANIFEST.json").read_text())["model"] == model


def test_the_yaml_wins_over_the_defaults(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "cats", handler__py=FUNCTION, model_config__yaml="minWorkers: 2\n")
    _, archive = opened(tmp_path, folder, defaults={"minWorkers": 1, "maxWorkers": 1})
    assert archive.config == {"minWorkers": 2, "maxWorkers": 1}
    assert (folder / "model-config.yaml").read_text() == "minWorkers: 2\n"


def test_twice_is_anew(tmp_path: Path) -> None:
    folder = lay_out(tmp_path / "cats", handler__py=FUNCTION)
    folder_archive(folder, tmp_path / "into")
    (folder / "later.txt").write_text("x")
    assert (folder_archive(folder, tmp_path / "into").folder / "later.txt").read_text() == "x"


@pytest.mark.parametrize(
    ("files", "name", "text"),
    [
        ({}, "", "no .py file has a handle"),
        ({"a__py": FUNCTION, "b__py": CLASS}, "", "there are a.py, b.py; name one with --handler, or a built-in one"),
        ({"a__mar": ""}, "a.mar", "a.mar is neither a folder nor"),
        ({}, "nowhere", "there is no such file or folder"),
        ({"handler__py": FUNCTION, "model_config__yaml": "- 1\n"}, "", "model-config.yaml: the YAML is a list"),
    ],
)
def test_what_can_not_be_found_out_is_asked_for(tmp_path: Path, files: dict[str, str], name: str, text: str) -> None:
    folder = lay_out(tmp_path / "cats", **files)
    with pytest.raises(InvalidArchive, match=text):
        folder_archive(folder / name, tmp_path / "into")


@pytest.mark.parametrize(
    ("source", "handlers"),
    [
        ("class A:\n    def handle(self, data, context): ...\n", ["A"]),
        ("class A:\n    async def handle(self, data, context): ...\n", ["A"]),
        ("import ts.torch_handler.base_handler as b\nclass A(b.BaseHandler): ...\nclass B(A): ...\n", ["A", "B"]),
        ("class A:\n    def predict(self): ...\n", []),
        ("class A(Unknown): ...\n", []),
    ],
)
def test_handler_classes(tmp_path: Path, source: str, handlers: list[str]) -> None:
    (tmp_path / "h.py").write_text(source)
    read = HandlerSource.read(tmp_path / "h.py")
    assert [cls.name for cls in read.handlers()] == handlers
    assert read.has_entry_point() == (len(handlers) == 1)
    assert find_handler(tmp_path) == (["h.py"] if len(handlers) == 1 else [])


def test_names_that_are_bound_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "h.py").write_text("from other import run as handle\nimport a.b\nx: int = 1\ny = z = 2\n")
    read = HandlerSource.read(tmp_path / "h.py")
    assert [read.binds(name) for name in ("handle", "run", "a", "x", "z", "w")] == [
        True,
        False,
        True,
        True,
        True,
        False,
    ]
    assert read.function("handle") is None
