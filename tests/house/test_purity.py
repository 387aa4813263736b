"""Purity: what a room loads when it is imported, seen from a fresh interpreter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .tree import REPO, child, importable, modules, plant

_LOADED = """
import importlib, json, sys
own, found = {"torchserve", "ts", "model_archiver", "workflow_archiver"}, []
for names in json.loads(sys.argv[1]):
    before = set(sys.modules)
    for name in names:
        importlib.import_module(name)
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    found.append(sorted(new - set(sys.stdlib_module_names) - own))
json.dump(found, sys.stdout)
"""


def loaded_in_turn(root: Path, scratch: Path, rooms: list[list[str]]) -> list[set[str]]:
    """Return what importing each room's modules from the tree at `root` adds to those before it, in a fresh child.

    Only top-level third-party modules are told.
    """
    path = importable(root, scratch)
    return [set(new) for new in json.loads(child(_LOADED, json.dumps(rooms), path=path, cwd=scratch))]


def loaded(root: Path, scratch: Path, names: list[str]) -> set[str]:
    """Return the top-level third-party modules that importing `names` loads."""
    (found,) = loaded_in_turn(root, scratch, [names])
    return found


def scheduler_modules(root: Path) -> list[str]:
    driver = {"torchserve.scheduler.devices", "torchserve.scheduler.gpu_process"}
    return [name for name in modules(root, "scheduler") if name not in driver]


def test_scheduler_loads_the_standard_library_only(tmp_path: Path) -> None:
    assert loaded(REPO, tmp_path, scheduler_modules(REPO)) == set()


def test_the_driver_s_two_modules_load_pynvml_at_most(tmp_path: Path) -> None:
    assert loaded(REPO, tmp_path, modules(REPO, "scheduler")) <= {"pynvml"}


_GPU = {"torch", "torchvision", "triton", "ray"}
_SERVED = {"torch", "triton", "aiohttp", "click", "pynvml", "ray"}
# The front's rooms, those first that may load least: what is loaded once is not seen again.
FRONT = {
    "core/wire": _SERVED,
    "core/metrics": _SERVED,
    "core/gpus": _SERVED,
    "core/workers": _SERVED,
    "core/models": _SERVED,
    "core/archive": _SERVED,
    "core/config": _SERVED,
    "http": _GPU,
    "cli": _GPU,
}


def test_the_front_s_rooms_load_nothing_that_they_must_not(tmp_path: Path) -> None:
    """One interpreter imports them all."""
    found = loaded_in_turn(REPO, tmp_path, [modules(REPO, room) for room in FRONT])
    seen = {room: new & FRONT[room] for room, new in zip(FRONT, found, strict=True)}
    assert {room: banned for room, banned in seen.items() if banned} == {}
    assert "aiohttp" in found[list(FRONT).index("http")], "nothing has loaded it before, or this sees nothing"


def test_the_backend_loads_no_web(tmp_path: Path) -> None:
    assert loaded(REPO, tmp_path, modules(REPO, "core/backend")) & {"aiohttp", "grpc", "click", "uvloop"} == set()


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
