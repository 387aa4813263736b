"""Print the changelog's section of a tag, as `v0.13.0`; fail if it is not this tree's version or has none."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def notes(changelog: str, version: str) -> str:
    """Return the text between the heading of `version` and the next one. Raises SystemExit where there is none."""
    for section in re.split(r"^## ", changelog, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        if re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", heading):
            return text.strip() + "\n"
    raise SystemExit(f"CHANGELOG.md has no section '## [{version}] - YYYY-MM-DD'")


if __name__ == "__main__":
    version = sys.argv[1].removeprefix("v")
    current = re.search(r'__version__ = "(.+)"', (ROOT / "core/version.py").read_text())
    if current is None or current[1] != version:
        raise SystemExit(f"the tag says {version}, and core/version.py {current and current[1]}")
    sys.stdout.write(notes((ROOT / "CHANGELOG.md").read_text(), version))
