"""Layers: every import follows the table; a planted violation is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import layers
from .tree import REPO, plant


def test_every_import_follows_the_table(tmp_path: Path) -> None:
    assert layers.violations(REPO, tmp_path) == []


@pytest.mark.parametrize(
    ("path", "line", "reason"),
    [
        ("scheduler/planted.py", "from ..core import errors", "scheduler may not import core.errors"),
        ("scheduler/planted.py", "import pynvml", "scheduler may not import pynvml from outside"),
        ("scheduler/planted.py", "def f():\n    import torch", "scheduler may not import torch from outside"),
        ("core/errors.py", "from .payload import Payload", "core.errors may not import core.payload"),
        ("core/config/planted.py", "from ..workers import pool", "core.config may not import core.workers"),
        ("core/workers/planted.py", "from ..models import registry", "core.workers may not import core.models"),
        ("core/models/planted.py", "import aiohttp", "core.models may not import aiohttp from outside"),
        ("core/models/planted.py", "import torch", "core.models may not import torch from outside"),
        ("core/backend/planted.py", "from ..config import settings", "core.backend may not import core.config"),
        ("core/backend/planted.py", "import click", "core.backend may not import click from outside"),
        ("core/handlers/planted.py", "from ..backend import service", "core.handlers may not import core.backend"),
        ("core/dataplane.py", "from ..http import front", "core.dataplane may not import http"),
        ("core/server.py", "from .handlers import base", "core.server may not import core.handlers"),
        ("core/planted.py", "from . import errors", "core.planted: has no row in the table"),
        ("http/planted.py", "from ..scheduler import lane", "http may not import scheduler"),
        ("http/planted.py", "from ..core.workers import pool", "http may not import core.workers"),
        ("http/planted.py", "import torch", "http may not import torch from outside"),
        ("http/planted.py", "from benchmarks import peers", "http may not import benchmarks from outside"),
        ("cli/planted.py", "from ..core import dataplane", "cli may not import core.dataplane"),
        ("ts/planted.py", "from torchserve.http import front", "ts may not import http"),
        (
            "scheduler/planted.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..core.payload import Payload",
            "scheduler may not import core.payload",
        ),
    ],
)
def test_a_planted_import_is_seen(planted: Path, tmp_path: Path, path: str, line: str, reason: str) -> None:
    for needed in (
        "core/workers/pool.py",
        "core/models/registry.py",
        "core/config/settings.py",
        "core/dataplane.py",
        "core/backend/service.py",
        "core/handlers/base.py",
        "scheduler/model_scheduler.py",
        "http/front.py",
    ):
        if not (planted / needed).exists():
            plant(planted, needed, '"""Planted."""\n')
    plant(planted, path, f'"""Planted."""\n{line}\n')
    assert any(reason in violation for violation in layers.violations(planted, tmp_path / "path"))


def test_a_copy_without_a_planted_import_has_the_violations_of_the_tree(planted: Path, tmp_path: Path) -> None:
    assert layers.violations(planted, tmp_path / "a") == layers.violations(REPO, tmp_path / "b")
