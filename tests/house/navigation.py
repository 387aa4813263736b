"""The navigation of mkdocs.yml: which pages it names, and where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml


def faults(root: Path) -> list[str]:
    """Return each page of docs/ that the navigation leaves out, and each page of it that is named twice or isn't there."""
    named = list(_pages(yaml.safe_load((root / "mkdocs.yml").read_text())["nav"]))
    there = {path.relative_to(root / "docs").as_posix() for path in (root / "docs").rglob("*.md")}
    return [
        *(f"docs/{page}: not in the navigation" for page in sorted(there - set(named))),
        *(f"{page}: named twice" for page in sorted({each for each in named if named.count(each) > 1})),
        *(f"{page}: not there" for page in named if not _place(root, page).is_file()),
    ]


def _place(root: Path, page: str) -> Path:
    """Return the file of a page: `repository/PATH` is the repository's PATH (.ci/pages.py), any other is in docs/."""
    return root / page.removeprefix("repository/") if page.startswith("repository/") else root / "docs" / page


def _pages(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    for each in nav.values() if isinstance(nav, dict) else nav if isinstance(nav, list) else ():
        yield from _pages(each)
