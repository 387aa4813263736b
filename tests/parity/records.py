"""What the oracle answered, as JSON lines: one file a setup, one line a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .steps import Row, Setup

FOLDER = Path(__file__).parent / "oracle"
MISSING = Path(__file__).parent / "missing.txt"


def write(setup: Setup, seen: dict[str, Any]) -> None:
    lines = [json.dumps({"row": row.name, "asked": row.digest, "seen": seen[row.name]}) for row in setup.rows]
    (FOLDER / f"{setup.name}.jsonl").write_text("\n".join([*lines, ""]))


def read(setup: Setup) -> dict[str, Any]:
    """Row -> what was seen, for the rows whose question has not changed since."""
    file = FOLDER / f"{setup.name}.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    asked = {row.name: row.digest for row in setup.rows}
    return {line["row"]: line["seen"] for line in lines if asked.get(line["row"]) == line["asked"]}


def missing() -> dict[str, str]:
    """Rows that this server doesn't pass yet, with what they wait for."""
    lines = [line for line in MISSING.read_text().splitlines() if line and not line.startswith("#")]
    return {name: why for name, _, why in (line.partition(" | ") for line in lines)}


def unrecorded(setup: Setup) -> list[Row]:
    return [row for row in setup.rows if row.name not in read(setup)]
