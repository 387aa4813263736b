"""The garbage collector of a server: what requests come to and go with does not set it off."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from torchserve.cli.serve import _settle_memory


@pytest.fixture
def collector() -> Iterator[None]:
    """Leave the test's process as it was."""
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("collector")
def test_some_thousand_objects_that_go_again_cost_no_collection() -> None:
    _settle_memory()
    assert gc.get_freeze_count() > 0
    begun = [each["collections"] for each in gc.get_stats()]
    noted = [[number] for number in range(5000)]
    assert [each["collections"] for each in gc.get_stats()] == begun
    del noted
