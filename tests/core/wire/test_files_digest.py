"""files_digest(): the same for the same files in any order, another one for any change."""

from __future__ import annotations

import pytest

from torchserve.core.wire.files_digest import files_digest

FILES = [("a", False, "1" * 64), ("b/c", True, "2" * 64)]


def test_the_order_of_the_files_does_not_matter() -> None:
    assert files_digest(FILES) == files_digest(reversed(FILES))


@pytest.mark.parametrize(
    "other",
    [
        FILES[:1],
        [("a", True, "1" * 64), FILES[1]],
        [("A", False, "1" * 64), FILES[1]],
        [("a", False, "3" * 64), FILES[1]],
        [("a\udcff", False, "1" * 64), FILES[1]],
    ],
)
def test_any_change_makes_another_digest(other: list[tuple[str, bool, str]]) -> None:
    assert files_digest(other) != files_digest(FILES)
