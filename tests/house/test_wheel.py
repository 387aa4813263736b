"""The wheel: built from a copy, compared with the tree, imported from an empty folder; and `http` stays the standard one.

A package missing from pyproject's list imports fine from an editable install and is absent from the wheel.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from .tree import FOLDERS, REPO, child, copy, modules, plant, python_files

_IMPORT = """
import importlib, pathlib, sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in getattr(f, "__module__", "").lower()]
site = pathlib.Path(sys.argv[1]).resolve()
for name in sys.argv[2:]:
    module = importlib.import_module(name)
    if module.__file__ is not None:
        assert pathlib.Path(module.__file__).resolve().is_relative_to(site), (name, module.__file__)
print("imported")
"""
_NOT_SHIPPED = {"README.md"}


def listed(root: Path) -> set[str]:
    """The packages that pyproject lists."""
    return set(tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])


def folders_with_python(root: Path) -> set[str]:
    """The packages that the tree holds."""
    return {
        ".".join((FOLDERS[file.relative_to(root).parts[0]], *file.relative_to(root).parts[1:-1]))
        for file in python_files(root, *FOLDERS)
    }


def shipped(root: Path) -> set[str]:
    """Where every file of the product's folders belongs in a wheel."""
    return {
        "/".join((*FOLDERS[folder].split("."), *file.relative_to(root / folder).parts))
        for folder in FOLDERS
        for file in (root / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.name not in _NOT_SHIPPED
    }


def build(root: Path, into: Path) -> Path:
    """Builds the wheel of the tree at `root`, which is written to, and unpacks it below `into`."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "--disable-pip-version-check",
        "--wheel-dir",
        str(into / "dist"),
        str(root),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, f"no wheel:\n{done.stdout}{done.stderr}"
    (wheel,) = (into / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(into / "site")
    return into / "site"


def packed(site: Path) -> set[str]:
    """The files of an unpacked wheel, without its metadata."""
    return {
        file.relative_to(site).as_posix()
        for file in site.rglob("*")
        if file.is_file() and not file.relative_to(site).parts[0].endswith(".dist-info")
    }


PLANTED = {"core/planted/__init__.py": '"""Planted."""\n', "core/config/planted.table": "not package data\n"}


@pytest.fixture(scope="module")
def spoilt(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this tree with two files that pyproject does not list."""
    made = copy(REPO, tmp_path_factory.mktemp("tree") / "copy")
    for path, text in PLANTED.items():
        plant(made, path, text)
    return made


@pytest.fixture(scope="module")
def site(spoilt: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of that copy, unpacked: it has what the wheel of this tree has, as the planted files are not packed."""
    return build(spoilt, tmp_path_factory.mktemp("wheel"))


def test_the_list_of_packages_is_the_tree() -> None:
    assert listed(REPO) == folders_with_python(REPO)


def test_the_wheel_holds_the_tree(site: Path) -> None:
    assert packed(site) == shipped(REPO)


def test_the_wheel_imports_from_an_empty_folder(site: Path, tmp_path: Path) -> None:
    assert child(_IMPORT, str(site), *modules(REPO, *FOLDERS), path=site, cwd=tmp_path) == "imported\n"


def test_a_package_that_is_not_listed_is_seen(spoilt: Path) -> None:
    assert folders_with_python(spoilt) - listed(spoilt) == {"torchserve.core.planted"}


def test_a_file_that_is_not_packed_is_seen(site: Path, spoilt: Path) -> None:
    assert shipped(spoilt) - packed(site) == {f"torchserve/{path}" for path in PLANTED}


def standard_http(root: Path) -> bool:
    """Does `import http` at `root`, with the root on sys.path as `python -m` puts it, find the standard library's?"""
    code = "import http.client, http, sys; print(http.client.__file__)"
    try:
        return Path(child(code, cwd=root, safe=False).strip()).is_relative_to(sys.base_prefix)
    except AssertionError:
        return False


def test_http_at_the_root_is_the_standard_librarys() -> None:
    assert not (REPO / "http" / "__init__.py").exists()
    assert standard_http(REPO)


def test_a_planted_init_in_http_is_seen(planted: Path) -> None:
    plant(planted, "http/__init__.py", '"""Planted."""\n')
    assert not standard_http(planted)
