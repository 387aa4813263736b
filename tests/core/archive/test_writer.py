"""pack(): the layout of torch-model-archiver 0.12, and an output that is complete or absent."""

from __future__ import annotations

import json
import logging
import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from torchserve.core.archive.manifest import MANIFEST_PATH
from torchserve.core.archive.writer import (
    BUILT_IN_HANDLERS,
    ArchiveFormat,
    PackError,
    Recipe,
    Runtime,
    describe_recipe,
    pack,
)

OUT = Path("out")


@pytest.fixture(autouse=True)
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    files = (
        "h.py",
        "model.py",
        "w.pt",
        "requirements.txt",
        "conf.yaml",
        "lib.so",
        "deep/h2.py",
        "one.txt",
        "two.txt",
        "extra/a.txt",
        "extra/.dotfile",
        "extra/sub/b.txt",
        "extra/.git/config",
        "extra/__pycache__/x.pyc",
        "extra/__MACOSX/y",
        "extra/sub/.hidden/z",
    )
    for name in files:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    return tmp_path


def names(path: Path) -> list[str]:
    with zipfile.ZipFile(path) as archive:
        return archive.namelist()


def model(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(MANIFEST_PATH))["model"]


FULL = Recipe(
    "m",
    "1.0",
    "h.py",
    serialized_file="w.pt",
    model_file="model.py",
    requirements_file="requirements.txt",
    config_file="conf.yaml",
    extra_files=["extra", "*.txt"],
)
FULL_NAMES = [
    ".dotfile",
    "a.txt",
    "conf.yaml",
    "h.py",
    "model.py",
    "one.txt",
    "requirements.txt",
    "sub/b.txt",
    "two.txt",
    "w.pt",
    MANIFEST_PATH,
]


@pytest.mark.parametrize(
    ("archive_format", "method"), [("default", zipfile.ZIP_DEFLATED), ("zip-store", zipfile.ZIP_STORED)]
)
def test_a_mar(archive_format: ArchiveFormat, method: int):
    path = pack(FULL, OUT, archive_format=archive_format)
    assert path == OUT / "m.mar"
    assert names(path) == FULL_NAMES
    with zipfile.ZipFile(path) as archive:
        assert {info.compress_type for info in archive.infolist()} == {method}
        manifest = json.loads(archive.read(MANIFEST_PATH))
    assert list(manifest) == ["createdOn", "runtime", "model", "archiverVersion"]
    assert list(manifest["model"].items()) == [
        ("modelName", "m"),
        ("serializedFile", "w.pt"),
        ("handler", "h.py"),
        ("modelFile", "model.py"),
        ("modelVersion", "1.0"),
        ("requirementsFile", "requirements.txt"),
        ("configFile", "conf.yaml"),
    ]
    assert manifest["runtime"] == "python"
    assert os.listdir(OUT) == ["m.mar"]


def test_a_tgz():
    os.link("one.txt", "three.txt")
    path = pack(FULL, OUT, archive_format="tgz")
    assert path == OUT / "m.tar.gz"
    with tarfile.open(path) as archive:
        members = archive.getmembers()
        assert [member.name for member in members] == [
            f"m/{name}" for name in sorted([*FULL_NAMES[:-1], "three.txt"])
        ] + [f"m/{MANIFEST_PATH}"]
        assert all(member.isreg() and (member.uid, member.uname) == (0, "") for member in members)
        content = archive.extractfile("m/three.txt")
        assert content is not None
        assert content.read() == b"one.txt"


def test_a_folder():
    path = pack(FULL, OUT, archive_format="no-archive")
    assert path == OUT / "m"
    found = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file())
    assert found == sorted(FULL_NAMES)
    assert os.listdir(OUT) == ["m"]


@pytest.mark.parametrize("archive_format", ["default", "tgz", "no-archive"])
def test_readable_by_whom_the_umask_says(archive_format: ArchiveFormat):
    before = os.umask(0o022)
    try:
        mode = pack(FULL, OUT, archive_format=archive_format).stat().st_mode
    finally:
        os.umask(before)
    assert mode & 0o044 == 0o044


@pytest.mark.parametrize(
    ("handler", "runtime", "value", "file"),
    [
        ("h.py", "python", "h.py", "h.py"),
        ("h", "python", "h", "h.py"),
        ("h.py:go", "python", "h:go", "h.py"),
        ("h:go", "python3", "h:go", "h.py"),
        ("./deep/../deep/h2.py:go", "python", "h2:go", "h2.py"),
        ("deep/h2", "python", "h2", "h2.py"),
        ("lib", "LSP", "lib", "lib.so"),
        ("lib.so:go", "LSP", "lib:go", "lib.so"),
        *((name, "python", name, None) for name in BUILT_IN_HANDLERS),
    ],
)
def test_handlers(handler: str, runtime: Runtime, value: str, file: str | None):
    path = pack(Recipe("m", "1", handler, runtime=runtime), OUT)
    assert model(path)["handler"] == value
    assert names(path) == ([file] if file else []) + [MANIFEST_PATH]


@pytest.mark.parametrize(
    ("handler", "packed"),
    [
        ("lib.serving.h", ["lib/__init__.py", "lib/net.py", "lib/serving/h.py"]),
        ("lib.serving.h:go", ["lib/__init__.py", "lib/net.py", "lib/serving/h.py"]),
        ("lib.net", ["lib/__init__.py", "lib/net.py", "lib/serving/h.py"]),
        ("src.mod.h", ["src/mod/__init__.py", "src/mod/h.py"]),
        ("mod.h:go", ["mod/__init__.py", "mod/h.py"]),  # which the extra files bring
        ("ts.torch_handler.base_handler", []),
        ("email.mime.text:go", []),  # of an installed package
        ("v1.h", ["v1.h.py"]),  # a file of that name
        ("v1.h:go", ["v1.h.py"]),
    ],
)
def test_a_handler_may_be_a_module(handler: str, packed: list[str]):
    for file in (
        "lib/__init__",
        "lib/net",
        "lib/serving/h",
        "lib/__pycache__/x",
        "src/mod/h",
        "src/mod/__init__",
        "v1.h",
    ):
        Path(f"{file}.py").parent.mkdir(parents=True, exist_ok=True)
        Path(f"{file}.py").write_text("")
    recipe = Recipe("m", "1", handler, extra_files=["src"] if handler.startswith("mod") else [])
    path = pack(recipe, OUT)
    assert model(path)["handler"] == handler
    assert names(path) == [*packed, MANIFEST_PATH]
    assert describe_recipe(recipe).handler == model(path)["handler"]


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("m", "1", "gone.py"),
        Recipe("m", "1", "gone.h:go"),
        Recipe("m", "1", "email.gone"),
        Recipe("m", "1", "h.py", extra_files=["gone"]),
    ],
)
def test_scripts_may_catch_file_not_found(recipe: Recipe):
    with pytest.raises(FileNotFoundError) as caught:
        pack(recipe, OUT)
    assert isinstance(caught.value, PackError)
    assert str(caught.value).startswith("There is no file ")


@pytest.mark.parametrize(
    ("recipe", "cause"),
    [
        (Recipe("bad name", "1", "h.py"), "Model name 'bad name' does not match"),
        (Recipe("-m", "1", "h.py"), "Model name '-m' does not match"),
        (Recipe("m\n", "1", "h.py"), "Model name 'm"),
        (Recipe("../m", "1", "h.py"), "does not match"),
        (Recipe("m", "", "h.py"), "version '' can't be registered: it is empty"),
        (Recipe("m", " ", "h.py"), "version ' ' can't be registered: character 1 is ' '"),
        (Recipe("m", "1/2", "h.py"), "version '1/2' can't be registered: character 2 is '/'"),
        (Recipe("m", "1", ""), "The handler '' names no file"),
        (Recipe("m", "1", ":go"), "The handler ':go' names no file"),
        (Recipe("m", "1", "gone.py"), r"There is no file gone\.py"),
        (Recipe("m", "1", "image_classifier:go"), r"There is no file image_classifier\.py"),
        (Recipe("m", "1", "h.py", serialized_file="gone.pt"), r"There is no file gone\.pt"),
        (Recipe("m", "1", "h.py", serialized_file="extra"), "extra is a folder, not a file"),
        (Recipe("m", "1", "h.py", model_file="gone.py"), r"There is no file gone\.py"),
        (Recipe("m", "1", "h.py", requirements_file="gone"), "There is no file gone"),
        (Recipe("m", "1", "h.py", config_file="gone"), "There is no file gone"),
        (Recipe("m", "1", "h.py", extra_files=["one.txt", "gone"]), "There is no file gone"),
    ],
)
def test_what_cannot_be_packed(recipe: Recipe, cause: str):
    with pytest.raises(PackError, match=cause):
        pack(recipe, OUT)
    assert not OUT.exists()


def test_extra_files(caplog: pytest.LogCaptureFixture):
    Path("[odd].txt").write_text("")
    path = pack(
        Recipe("m", "1", "base_handler", extra_files=["", " one.txt ", "none*.txt", "[odd].txt", "extra/sub"]), OUT
    )
    assert names(path) == ["[odd].txt", "b.txt", "one.txt", MANIFEST_PATH]
    assert next(record.getMessage() for record in caplog.records) == "No file matches none*.txt"


def test_links_are_followed_but_not_in_circles():
    Path("extra/link.txt").symlink_to("a.txt")
    Path("extra/sub/up").symlink_to("..")
    Path("extra/deep").symlink_to("../deep")
    path = pack(Recipe("m", "1", "base_handler", extra_files=["extra"]), OUT)
    assert names(path) == [".dotfile", "a.txt", "deep/h2.py", "link.txt", "sub/b.txt", MANIFEST_PATH]
    with zipfile.ZipFile(path) as archive:
        assert archive.read("link.txt") == b"extra/a.txt"
    Path("extra/broken").symlink_to("gone")
    with pytest.raises(PackError, match="extra/broken is a broken link"):
        pack(Recipe("n", "1", "base_handler", extra_files=["extra"]), OUT)


def test_the_own_manifest_wins_and_a_clash_is_told(caplog: pytest.LogCaptureFixture):
    Path("extra/MAR-INF").mkdir()
    Path("extra/MAR-INF/MANIFEST.json").write_text("theirs")
    Path("extra/h.py").write_text("theirs")
    path = pack(Recipe("m", "1", "h.py", extra_files=["extra"]), OUT)
    assert names(path).count(MANIFEST_PATH) == 1
    assert model(path)["modelName"] == "m"
    assert "h.py replaces extra/h.py" in caplog.text
    with zipfile.ZipFile(path) as archive:
        assert archive.read("h.py") == b"h.py"


@pytest.mark.parametrize("archive_format", ["default", "zip-store", "tgz", "no-archive"])
def test_an_existing_output(archive_format: ArchiveFormat, caplog: pytest.LogCaptureFixture):
    first = pack(Recipe("m", "1", "h.py", extra_files=["one.txt"]), OUT, archive_format=archive_format)
    with pytest.raises(PackError, match="already exists; use --force"):
        pack(Recipe("m", "2", "h.py"), OUT, archive_format=archive_format)
    caplog.clear()
    second = pack(Recipe("m", "2", "h.py"), OUT, archive_format=archive_format, force=True)
    assert first == second
    assert f"Overwriting {second}" in caplog.text
    if archive_format == "no-archive":
        assert sorted(os.listdir(second)) == ["MAR-INF", "h.py"]
    assert os.listdir(OUT) == [second.name]


def test_forcing_a_folder_over_a_file_and_back():
    OUT.mkdir()
    (OUT / "m").write_text("a file")
    (OUT / "m.mar").mkdir()
    pack(Recipe("m", "1", "h.py"), OUT, archive_format="no-archive", force=True)
    pack(Recipe("m", "1", "h.py"), OUT, force=True)
    assert ((OUT / "m").is_dir(), (OUT / "m.mar").is_file(), len(os.listdir(OUT))) == (True, True, 2)


@pytest.mark.parametrize("archive_format", ["default", "tgz", "no-archive"])
def test_a_failure_on_the_way_keeps_the_old_one(archive_format: ArchiveFormat, monkeypatch: pytest.MonkeyPatch):
    path = pack(Recipe("m", "1", "base_handler", extra_files=["extra"]), OUT, archive_format=archive_format)
    before = path.read_bytes() if path.is_file() else sorted(os.listdir(path))

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("zipfile.ZipFile.writestr", fail)
    monkeypatch.setattr("tarfile.TarFile.addfile", fail)
    monkeypatch.setattr("pathlib.Path.write_bytes", fail)
    with pytest.raises(OSError, match="No space left"):
        pack(FULL, OUT, archive_format=archive_format, force=True)
    assert os.listdir(OUT) == [path.name]
    assert (path.read_bytes() if path.is_file() else sorted(os.listdir(path))) == before


def test_the_export_path(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        assert pack(Recipe("m", "1", "h.py"), Path("new/deep")) == Path("new/deep/m.mar")
    assert "Created the export path new/deep" in caplog.text
    with pytest.raises(PackError, match=r"The export path one\.txt is not a folder"):
        pack(Recipe("m", "1", "h.py"), Path("one.txt"))


def test_the_same_files_give_the_same_archive(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torchserve.core.archive.writer._manifest", lambda recipe, handler: FakeManifest())
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0)
    monkeypatch.setattr("time.localtime", lambda *_: (2024, 1, 1, 0, 0, 0, 0, 0, 0))
    for archive_format in ("default", "tgz"):
        first = pack(FULL, Path("one"), archive_format=archive_format)
        second = pack(FULL, Path("two"), archive_format=archive_format)
        assert first.read_bytes() == second.read_bytes()


class FakeManifest:
    def to_json(self) -> bytes:
        return b"{}"
