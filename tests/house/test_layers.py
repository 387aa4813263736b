"""Layers: every import follows the table, none goes in a circle, and each row names a module; planted breaches are seen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from . import layers
from .tree import REPO, copy, plant

# Each breach has a file of its own, so that one graph shows them all; a file that the tree has gets the line at its end.
BREACHES = [
    ("scheduler/planted_1.py", "from ..core import errors", "scheduler may not import core.errors"),
    ("scheduler/planted_2.py", "import pynvml", "scheduler may not import pynvml from outside"),
    ("scheduler/planted_3.py", "def f():\n    import torch", "scheduler may not import torch from outside"),
    ("core/errors.py", "from .payload import Payload", "core.errors may not import core.payload"),
    ("core/config/planted_1.py", "from ..workers import pool", "core.config may not import core.workers"),
    ("core/workers/planted_1.py", "from ..models import registry", "core.workers may not import core.models"),
    ("core/workers/planted_2.py", "import ray", "core.workers may not import ray from outside"),
    ("core/workers/remote/planted_1.py", "import ray", "core.workers may not import ray from outside"),
    ("core/models/planted_1.py", "import aiohttp", "core.models may not import aiohttp from outside"),
    ("core/models/planted_2.py", "import torch", "core.models may not import torch from outside"),
    ("core/backend/planted_1.py", "from ..config import settings", "core.backend may not import core.config"),
    ("core/backend/planted_2.py", "import click", "core.backend may not import click from outside"),
    ("core/handlers/planted_1.py", "from ..backend import service", "core.handlers may not import core.backend"),
    ("core/dataplane.py", "from ..http import front", "core.dataplane may not import http"),
    ("core/server.py", "from .handlers import base", "core.server may not import core.handlers"),
    ("core/planted.py", "from . import errors", "core.planted: has no row in the table"),
    ("http/planted_1.py", "from ..scheduler import model_scheduler", "http may not import scheduler"),
    ("http/planted_2.py", "from ..core.workers import pool", "http may not import core.workers"),
    ("http/planted_3.py", "import torch", "http may not import torch from outside"),
    ("http/planted_4.py", "from benchmarks import peers", "http may not import benchmarks from outside"),
    ("cli/planted_1.py", "from ..core import dataplane", "cli may not import core.dataplane"),
    ("ts/planted_1.py", "from torchserve.http import front", "ts may not import http"),
    (
        "scheduler/planted_4.py",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..core.payload import Payload",
        "scheduler may not import core.payload",
    ),
]
CIRCLES = {
    "type-only": {
        "core/wire/planted_a.py": "from .planted_b import B",
        "core/wire/planted_b.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .planted_a import A",
    },
    "inside a function": {
        "http/planted_a.py": "def f():\n    from . import planted_b",
        "http/planted_b.py": "from .planted_a import f",
    },
    "three": {
        "cli/planted_a.py": "from .planted_b import B",
        "cli/planted_b.py": "from .planted_c import C",
        "cli/planted_c.py": "from .planted_a import A",
    },
    "folders": {
        "kernels/first/planted_a.py": "from ..second.planted_b import B",
        "kernels/first/planted_c.py": "C = 1",
        "kernels/second/planted_b.py": "B = 1",
        "kernels/second/planted_d.py": "from ..first.planted_c import C",
        "kernels/first/__init__.py": "",
        "kernels/second/__init__.py": "",
    },
}
SEEN = {
    "type-only": "core.wire.planted_a -> core.wire.planted_b -> core.wire.planted_a",
    "inside a function": "http.planted_a -> http.planted_b -> http.planted_a",
    "three": "cli.planted_a -> cli.planted_b -> cli.planted_c -> cli.planted_a",
    "folders": "kernels.first -> kernels.second -> kernels.first",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> list[layers.Import]:
    """The imports of this tree."""
    return layers.imports(REPO, tmp_path_factory.mktemp("imports"))


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the tree with all breaches and circles in it."""
    root = copy(REPO, tmp_path_factory.mktemp("spoiled") / "copy")
    for path, line in [
        *((path, line) for path, line, _ in BREACHES),
        *(row for c in CIRCLES.values() for row in c.items()),
    ]:
        before = (root / path).read_text() if (root / path).exists() else '"""Planted."""\n'
        plant(root, path, f"{before}\n{line}\n")
    return root


@pytest.fixture(scope="module")
def spoiled_imports(spoiled: Path, tmp_path_factory: pytest.TempPathFactory) -> list[layers.Import]:
    return layers.imports(spoiled, tmp_path_factory.mktemp("imports"))


def test_every_import_follows_the_table(tree: list[layers.Import]) -> None:
    assert layers.violations(REPO, tree) == []


def test_no_import_goes_in_a_circle(tree: list[layers.Import]) -> None:
    assert layers.circles(tree) == []


def test_every_row_names_a_module() -> None:
    assert layers.stale_rows(REPO) == []


@pytest.mark.parametrize(("path", "line", "reason"), BREACHES)
def test_a_planted_import_is_seen(
    spoiled: Path, spoiled_imports: list[layers.Import], path: str, line: str, reason: str
) -> None:
    del line
    place = path.removesuffix(".py").replace("/", ".")
    assert [v for v in layers.violations(spoiled, spoiled_imports) if place in v and reason in v]


def test_every_violation_was_planted(
    tree: list[layers.Import], spoiled: Path, spoiled_imports: list[layers.Import]
) -> None:
    planted = set(layers.violations(spoiled, spoiled_imports)) - set(layers.violations(REPO, tree))
    assert [violation for violation in planted if not any(reason in violation for _, _, reason in BREACHES)] == []


@pytest.mark.parametrize("kind", CIRCLES)
def test_a_planted_circle_is_seen(spoiled_imports: list[layers.Import], kind: str) -> None:
    assert SEEN[kind] in layers.circles(spoiled_imports)


def test_a_row_without_a_module_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(layers.TABLE, "core.planted", layers.Row(frozenset({"core.errors", "core.never"})))
    assert layers.stale_rows(REPO) == [
        "core.planted: is no module",
        "core.planted: may import core.never, which is no module",
    ]
