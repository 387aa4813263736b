"""Links between the pages of the repository, to files and to headings; what lies on other hosts is not asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_HIDDEN = {"build", "dist", "node_modules"}


def broken(root: Path) -> list[str]:
    """Return each link of a Markdown page below `root` that leads to no file, or to no heading of one."""
    return [
        f"{page.relative_to(root).as_posix()}: {link}"
        for page in _pages(root)
        for link in _LINK.findall(_FENCE.sub("", page.read_text()))
        if not re.match(r"[a-z]+:", link) and not _leads_somewhere(page, link)
    ]


def _pages(root: Path) -> Iterator[Path]:
    for path in sorted(root.rglob("*.md")):
        parts = path.relative_to(root).parts
        if not any(part in _HIDDEN or (part.startswith(".") and part != ".github") for part in parts):
            yield path


def _leads_somewhere(page: Path, link: str) -> bool:
    place, _, anchor = link.partition("#")
    target = page.parent / place if place else page
    if not target.exists():
        return False
    return not anchor or target.suffix != ".md" or anchor in _anchors(target)


def _anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = _HEADING.findall(_FENCE.sub("", page.read_text()))
    return {
        re.sub(r"[^\w\- ]", "", re.sub(r"\[(.*?)\]\(.*?\)", r"\1", each)).strip().lower().replace(" ", "-")
        for each in headings
    }
