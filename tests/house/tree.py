"""The tree the rules look at: which folders, files and modules there are, and copies of it to plant a violation in.

Every rule takes the root of a tree, so that the same code judges this repository and a copy with a planted fault.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
FOLDERS = {
    "core": "torchserve.core",
    "scheduler": "torchserve.scheduler",
    "kernels": "torchserve.kernels",
    "http": "torchserve.http",
    "cli": "torchserve.cli",
    "ts": "ts",
    "model_archiver": "model_archiver",
    "workflow_archiver": "workflow_archiver",
}
PROGRAMS_OF_EXTRAS = {"torchserve.core.workers.spawn_ray"}  # processes of their own, which nothing imports
AROUND = ("benchmarks", "examples", "tests", "docs", "deploy")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info", ".*_cache", ".hypothesis", "*.mar")


def python_files(root: Path, *folders: str) -> Iterator[Path]:
    """The Python files below `folders` of `root` in a stable order."""
    for folder in folders:
        yield from sorted(p for p in (root / folder).rglob("*.py") if "__pycache__" not in p.parts)


def module_name(root: Path, file: Path) -> str:
    """The name `file` imports as: `core/wire/frames.py` is `torchserve.core.wire.frames`."""
    parts = file.relative_to(root).with_suffix("").parts
    name = ".".join((FOLDERS[parts[0]], *parts[1:]))
    return name.removesuffix(".__init__")


def modules(root: Path, *folders: str) -> list[str]:
    """The modules below `folders` by import name, but for programs that need what is not installed for tests."""
    names = [module_name(root, file) for file in python_files(root, *folders)]
    return [name for name in names if name not in PROGRAMS_OF_EXTRAS]


def copy(root: Path, into: Path) -> Path:
    """A copy of the product's folders and of what a build needs, at `into`, which must not exist."""
    into.mkdir(parents=True)
    for folder in FOLDERS:
        if (root / folder).is_dir():
            shutil.copytree(root / folder, into / folder, ignore=_LEFT_OUT)
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "setup.py"):
        if (root / name).is_file():
            shutil.copy2(root / name, into / name)
    return into


def plant(root: Path, path: str, text: str) -> None:
    """Puts `text` at `path` of a copied tree, making folders as needed."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


def importable(root: Path, into: Path) -> Path:
    """A folder to put on PYTHONPATH from which the tree at `root` imports under its public names."""
    for folder, name in FOLDERS.items():
        link = into.joinpath(*name.split("."))
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists() and (root / folder).is_dir():
            link.symlink_to(root / folder, target_is_directory=True)
    return into


def child(code: str, *args: str, path: Path | None = None, cwd: Path | None = None, safe: bool = True) -> str:
    """Standard output of `code` in a fresh interpreter (`-P` if safe); AssertionError with its stderr if it fails."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_CORE", "COVERAGE"))}
    env["PYTHONDONTWRITEBYTECODE"] = "1"
    if path is not None:
        env["PYTHONPATH"] = str(path)
    command = [sys.executable, *(["-P"] if safe else []), "-c", code, *args]
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, f"child failed:\n{done.stderr}"
    return done.stdout
