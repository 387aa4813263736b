"""Purity: what a room loads when it is imported, seen from a fresh interpreter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .tree import REPO, child, importable, modules, plant

_LOADED = """
import importlib, json, sys
before = set(sys.modules)
for name in sys.argv[1:]:
    importlib.import_module(name)
new = {name.partition(".")[0] for name in set(sys.modules) - before}
json.dump(sorted(new - set(sys.stdlib_module_names) - {"torchserve", "ts", "model_archiver"}), sys.stdout)
"""


def loaded(root: Path, scratch: Path, names: list[str]) -> set[str]:
    """The top-level third-party modules in a fresh child after importing `names` from the tree at `root`."""
    return set(json.loads(child(_LOADED, *names, path=importable(root, scratch), cwd=scratch)))


def scheduler_modules(root: Path) -> list[str]:
    driver = {"torchserve.scheduler.devices", "torchserve.scheduler.gpu_process"}
    return [name for name in modules(root, "scheduler") if name not in driver]


def test_scheduler_loads_the_standard_library_only(tmp_path: Path) -> None:
    assert loaded(REPO, tmp_path, scheduler_modules(REPO)) == set()


def test_the_driver_s_two_modules_load_pynvml_at_most(tmp_path: Path) -> None:
    assert loaded(REPO, tmp_path, modules(REPO, "scheduler")) <= {"pynvml"}


FORBIDDEN = [
    ("http", {"torch", "torchvision", "triton", "ray"}),
    ("cli", {"torch", "torchvision", "triton", "ray"}),
    ("core/backend", {"aiohttp", "grpc", "click", "uvloop"}),
]


@pytest.mark.parametrize(("folder", "banned"), FORBIDDEN)
def test_a_room_never_loads(tmp_path: Path, folder: str, banned: set[str]) -> None:
    assert loaded(REPO, tmp_path, modules(REPO, folder)) & banned == set()


@pytest.mark.parametrize(
    "folder", ["core/wire", "core/metrics", "core/gpus", "core/workers", "core/models", "core/archive", "core/config"]
)
def test_the_front_never_loads_torch(tmp_path: Path, folder: str) -> None:
    assert loaded(REPO, tmp_path, modules(REPO, folder)) & {"torch", "triton", "aiohttp", "click", "pynvml"} == set()


def test_a_planted_import_in_the_scheduler_is_seen(planted: Path, tmp_path: Path) -> None:
    plant(planted, "scheduler/planted.py", '"""Planted."""\nimport msgspec\n')
    assert "msgspec" in loaded(planted, tmp_path, scheduler_modules(planted))


@pytest.mark.parametrize(("folder", "culprit"), [("http", "torch"), ("cli", "torch"), ("core/backend", "aiohttp")])
def test_a_planted_import_two_hops_away_is_seen(planted: Path, tmp_path: Path, folder: str, culprit: str) -> None:
    shelf = tmp_path / "path"
    plant(planted, "core/errors.py", f'"""Planted."""\nimport {culprit}\n')
    plant(planted, f"{folder}/planted.py", '"""Planted."""\nimport torchserve.core.errors\n')
    plant(shelf, f"{culprit}.py", "")  # a stand-in: the real one takes seconds to import
    name = f"torchserve.{folder.replace('/', '.')}.planted"
    assert culprit in loaded(planted, shelf, [name])
