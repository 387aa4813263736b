"""Opening archives that are as they should be: every format, upstream's own files, plain folders."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from torchserve.core.archive.manifest import Manifest
from torchserve.core.archive.reader import Archive, open_archive
from torchserve.core.archive.writer import ArchiveFormat, Recipe, pack
from torchserve.core.errors import InvalidArchive

UPSTREAM = Path(__file__).parent / "fixtures" / "upstream_0_12_0"
UPSTREAM_FILES = {
    "MAR-INF/MANIFEST.json",
    "echo.py",
    "index_to_name.json",
    "model-config.yaml",
    "requirements.txt",
    "sub/deep.txt",
    "w.pt",
}


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("name", ["default.zip", "zip-store.zip", "tgz.tar.gz", "no-archive"])
def test_archives_of_torch_model_archiver_0_12(name: str, tmp_path: Path):
    archive = open_archive(UPSTREAM / name, tmp_path)
    manifest = archive.manifest
    assert (manifest.model_name, manifest.model_version, manifest.handler) == ("upstream", "2.5", "echo.py")
    assert (manifest.serialized_file, manifest.requirements_file) == ("w.pt", "requirements.txt")
    assert manifest.archiver_version == "0.12.0"
    assert archive.config == {"minWorkers": 1, "batchSize": 4}
    assert files(archive.model_dir) == UPSTREAM_FILES
    assert (archive.model_dir / "sub/deep.txt").read_text() == "deep\n"
    assert (archive.unpacked is not None) is (name != "no-archive")
    archive.remove()
    archive.remove()
    assert list(tmp_path.iterdir()) == []
    assert files(UPSTREAM / "no-archive") == UPSTREAM_FILES


@pytest.mark.parametrize("archive_format", ["default", "zip-store", "tgz", "no-archive"])
def test_what_is_packed_opens_again(archive_format: ArchiveFormat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    Path("h.py").write_text("def go(data, context): return data\n")
    Path("run.sh").write_text("#!/bin/sh\n")
    Path("run.sh").chmod(0o755)
    Path("conf.yaml").write_text("batchSize: 2\n")
    Path("extra/nested").mkdir(parents=True)
    Path("extra/nested/größe.bin").write_bytes(bytes(range(256)) * 3000)
    recipe = Recipe("m", "3", "h.py:go", config_file="conf.yaml", extra_files=["extra", "run.sh"])
    path = pack(recipe, tmp_path / "out", archive_format=archive_format)
    archive = open_archive(path, tmp_path / "work")
    assert (archive.manifest.model_name, archive.manifest.model_version) == ("m", "3")
    assert (archive.manifest.handler, archive.config) == ("h:go", {"batchSize": 2})
    expected = {"MAR-INF/MANIFEST.json", "h.py", "run.sh", "conf.yaml", "nested/größe.bin"}
    assert files(archive.model_dir) == expected
    assert (archive.model_dir / "nested/größe.bin").read_bytes() == bytes(range(256)) * 3000
    assert (archive.model_dir / "run.sh").stat().st_mode & stat.S_IXUSR


def test_the_directory_is_private_and_fresh(tmp_path: Path):
    first, second = (open_archive(UPSTREAM / "default.zip", tmp_path / "work") for _ in range(2))
    assert first.model_dir != second.model_dir
    assert (tmp_path / "work").stat().st_mode & 0o777 == 0o700
    for path in (first.model_dir, *first.model_dir.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path
    first.remove()
    assert files(second.model_dir) == UPSTREAM_FILES


def test_a_zip_without_manifest_has_the_default_one(tmp_path: Path):
    path = tmp_path / "m.mar"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/", "")
        archive.writestr("folder/h.py", "x = 1")
    opened = open_archive(path, tmp_path / "work")
    assert (opened.manifest, opened.config) == (Manifest(), None)
    assert files(opened.model_dir) == {"folder/h.py"}


def tar(path: Path, *names: str) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                content = b'{"model": {"modelName": "t"}}' if name.endswith("MANIFEST.json") else b"x"
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("names", "root", "model"),
    [
        (("m/", "m/MAR-INF/", "m/MAR-INF/MANIFEST.json", "m/h.py"), "m", "t"),
        (("./", "./m/MAR-INF/MANIFEST.json", "./m/h.py"), "m", "t"),
        (("./MAR-INF/MANIFEST.json", "./h.py"), "", "t"),
        (("MAR-INF/MANIFEST.json",), "", "t"),
        (("m/h.py", "m/w.pt", "._m"), "m", None),
        (("h.py", "weights/w.pt"), "", None),
    ],
)
def test_the_top_folder_of_a_tar(names: tuple[str, ...], root: str, model: str | None, tmp_path: Path):
    opened = open_archive(tar(tmp_path / "x.model", *names), tmp_path / "work")
    assert opened.unpacked is not None
    assert opened.model_dir == opened.unpacked / root
    assert opened.manifest.model_name == model
    opened.remove()
    assert list((tmp_path / "work").iterdir()) == []


def test_long_names_of_every_tar_dialect(tmp_path: Path):
    name = "/".join(["d" * 90] * 5) + "/größe.bin"
    for dialect in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        path = tmp_path / f"{dialect}.tar.gz"
        with tarfile.open(path, "w:gz", format=dialect) as archive:
            info = tarfile.TarInfo(f"m/{name}")
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
            archive.addfile(tarfile.TarInfo("m/empty"))
        opened = open_archive(path, tmp_path / "work")
        assert files(opened.model_dir) == {name, "empty"}
        assert (opened.model_dir / name).read_bytes() == b"abc"


def test_a_folder_is_used_in_place_and_never_deleted(tmp_path: Path):
    folder = tmp_path / "store" / "m"
    (folder / "weights").mkdir(parents=True)
    (folder / "h.py").write_text("")
    archive = open_archive(folder, tmp_path / "work")
    assert archive == Archive(folder, Manifest(), folder, None, None)
    archive.remove()
    assert files(folder) == {"h.py"}
    assert not (tmp_path / "work").exists()


def test_a_folder_with_one_sub_folder_and_no_manifest_is_that_sub_folder(tmp_path: Path):
    inner = tmp_path / "store" / "m" / "inner"
    inner.mkdir(parents=True)
    assert open_archive(inner.parent, tmp_path / "work").model_dir == inner
    (inner.parent / "MAR-INF").mkdir()
    (inner.parent / "MAR-INF" / "MANIFEST.json").write_text("{}")
    assert open_archive(inner.parent, tmp_path / "work").model_dir == inner.parent


@pytest.mark.parametrize(
    ("config_file", "content", "cause"),
    [
        ("gone.yaml", "", "names the configFile 'gone.yaml', which is not there"),
        ("../secret.yaml", "a: 1", "leads outside"),
        ("/etc/passwd", "", "absolute"),
        ("c.yaml", "a: !!python/name:os.system\n", "c.yaml: not usable YAML"),
        ("c.yaml", "- 1\n", "c.yaml: the YAML is a list"),
    ],
)
def test_a_bad_config_file(config_file: str, content: str, cause: str, tmp_path: Path):
    folder = tmp_path / "m"
    (folder / "MAR-INF").mkdir(parents=True)
    (folder / "MAR-INF" / "MANIFEST.json").write_text(f'{{"model": {{"configFile": "{config_file}"}}}}')
    (tmp_path / "secret.yaml").write_text("a: 1")
    if config_file == "c.yaml":
        (folder / "c.yaml").write_text(content)
    with pytest.raises(InvalidArchive, match=f"^m: .*{cause}"):
        open_archive(folder, tmp_path / "work")


@pytest.mark.parametrize("key", ["configFile", "requirementsFile"])
@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("../secret", "leads outside the archive"),
        ("a/../../secret", "leads outside the archive"),
        ("/etc/passwd", "is an absolute path"),
        ("C:secret", "is an absolute path"),
        ("..\\\\secret", "leads outside the archive"),
    ],
)
def test_the_manifest_names_files_of_the_archive_only(key: str, name: str, cause: str, tmp_path: Path):
    folder = tmp_path / "m"
    (folder / "MAR-INF").mkdir(parents=True)
    (folder / "MAR-INF" / "MANIFEST.json").write_text(f'{{"model": {{"{key}": "{name}"}}}}')
    (tmp_path / "secret").write_text("a: 1")
    with pytest.raises(InvalidArchive, match=f"^m: MAR-INF/MANIFEST.json names the {key} .*: entry name .* {cause}"):
        open_archive(folder, tmp_path / "work")
