"""Fixtures: a model's folder, and a process whose working folder, import path and modules survive a load."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

WriteModel = Callable[..., Path]


@pytest.fixture
def write_model(tmp_path: Path) -> WriteModel:
    """write_model({"h.py": source, ...}, model={...}): the folder of a model; `model` goes into its manifest."""

    def write(files: dict[str, str], model: dict[str, str] | None = None) -> Path:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        if model is not None:
            (tmp_path / "MAR-INF").mkdir(exist_ok=True)
            (tmp_path / "MAR-INF" / "MANIFEST.json").write_text(json.dumps({"model": model}))
        return tmp_path

    return write


@pytest.fixture
def clean_process(tmp_path: Path) -> Iterator[None]:
    """Loading a handler changes the process; undo it."""
    folder, path, modules, finders = os.getcwd(), list(sys.path), set(sys.modules), list(sys.meta_path)
    yield
    os.chdir(folder)
    sys.path[:] = path
    sys.meta_path[:] = finders
    for name in set(sys.modules) - modules:
        file = str(getattr(sys.modules[name], "__file__", None) or "")
        if file.startswith(str(tmp_path)) or name.startswith("__archive__"):
            del sys.modules[name]
