"""`python -m tests.parity record|documents|report`: play the rows on the real TorchServe, or on this server, and write
them down.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import oracle
from torchserve.core.version import __version__

from . import records, report
from .departures import DOCUMENTS
from .playing import played
from .rows import SETUPS
from .steps import Setup


def record(setup: Setup, venv: Path) -> str:
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        seen = played(setup, venv / "bin", oracle.VERSION, Path(folder) / "h")
    records.write(setup, seen)
    return f"{setup.name}: {len(seen)} rows"


def documents() -> None:
    """The outlines of our own OpenAPI documents anew, of the rows that depart: what changed is for the diff to show."""
    (setup,) = (setup for setup in SETUPS if setup.name == "documents")
    with tempfile.TemporaryDirectory(prefix="parity-") as folder:
        seen = played(setup, Path(sys.executable).parent, __version__, Path(folder) / "h")
    ours = {row: seen[row] for row in json.loads(DOCUMENTS.read_text())}
    DOCUMENTS.write_text(json.dumps(ours, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.parity")
    parser.add_argument("what", choices=["record", "documents", "report"])
    parser.add_argument("--torchserve-venv", type=Path)
    parser.add_argument("--setup", action="append", help="only this one; may be repeated")
    parser.add_argument("--all", action="store_true", help="also rows that are recorded already")
    options = parser.parse_args()
    if options.what == "report":
        report.write()
        return 0
    if options.what == "documents":
        documents()
        return 0
    try:
        venv = oracle.find(options.torchserve_venv)
    except oracle.NoOracleError as error:
        print(error, file=sys.stderr)
        return 2
    wanted = [s for s in SETUPS if (not options.setup or s.name in options.setup)]
    wanted = [s for s in wanted if options.all or options.setup or records.unrecorded(s)]
    with ThreadPoolExecutor(2) as threads:
        for line in threads.map(lambda setup: record(setup, venv), wanted):
            print(line, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
