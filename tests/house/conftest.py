"""A copy of the tree for each test that plants a violation."""

from __future__ import annotations

from pathlib import Path

import pytest

from .tree import REPO, copy


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A copy of the product's folders that a test may spoil."""
    return copy(REPO, tmp_path / "copy")
