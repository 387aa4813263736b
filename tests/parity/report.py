"""docs/parity.md: what the comparison found, made from the rows, the recordings, the departures and the missing list."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from . import records
from .departures import DEPARTURES
from .rows import SETUPS
from .steps import Row

REPORT = Path(__file__).parents[2] / "docs" / "parity.md"
SUITES = Path(__file__).with_name("suites.md")
_HEAD = """# Beside TorchServe 0.12.0, row by row

Made by `make parity` from [tests/parity](../tests/parity): each row puts the same requests, archives, flags and properties to
the real TorchServe and to this server and compares status, reason, headers, body and what is left behind (files, log lines,
metrics). `make test` replays TorchServe's recorded answers, so it needs no Java.

Allowed everywhere: an error closes the connection only when the request's body was not read; an error's message may go on
where TorchServe's stops; families of
metrics whose names begin with torchserve_ are ours alone. The handler's folder, ports, ids, times, host and version are named alike on both sides.
"""


def state(row: Row) -> str:
    if row.name in records.missing():
        return "missing"
    return "departs" if row.name in DEPARTURES else "passes"


def text() -> str:
    """The whole page."""
    rows = [row for setup in SETUPS for row in setup.rows]
    counts = Counter((row.tag, state(row)) for row in rows)
    lines = [_HEAD, "| | passed | departed | missing |", "|---|---|---|---|"]
    lines += [
        f"| {tag} | {counts[tag, 'passes']} | {counts[tag, 'departs']} | {counts[tag, 'missing']} |"
        for tag in ("CORE", "STANDARD")
    ]
    missing = records.missing()
    if missing:
        lines += ["", "## Missing", "", "| row | waits for |", "|---|---|"]
        lines += [f"| {_cell(name)} | {_cell(why)} |" for name, why in missing.items()]
    lines += ["", "## Departures", "", "| row | why |", "|---|---|"]
    lines += [f"| {_cell(row.name)} | {_cell(DEPARTURES[row.name].reason)} |" for row in rows if row.name in DEPARTURES]
    lines += [
        "",
        SUITES.read_text().rstrip(),
        "",
        "## Every row",
        "",
        "| row | section of the account | | |",
        "|---|---|---|---|",
    ]
    lines += [f"| {_cell(row.name)} | {row.section} | {row.tag} | {state(row)} |" for row in rows]
    return "\n".join([*lines, ""])


def _cell(value: str) -> str:
    return value.replace("|", "\\|")


def write() -> None:
    REPORT.write_text(text())
