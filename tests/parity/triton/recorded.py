"""What Triton answered, as JSON lines, and the start of this server that is asked the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..steps import Row, Setup
from . import models, rows_grpc, rows_rest

ORACLE = Path(__file__).with_name("oracle.jsonl")
ROWS: tuple[Row, ...] = (*rows_rest.ABOUT, *rows_grpc.ROWS, *rows_rest.ACTS)
SETUP = Setup("triton", ROWS, models=models.LOADED, files=models.here())


def read() -> dict[str, Any]:
    """Return what was seen of each row whose question has not changed since."""
    lines = [json.loads(line) for line in ORACLE.read_text().splitlines()]
    asked = {row.name: row.digest for row in ROWS}
    return {line["row"]: line["seen"] for line in lines if asked.get(line["row"]) == line["asked"]}
