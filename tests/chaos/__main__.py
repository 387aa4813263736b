"""`python -m tests.chaos`: run chaos against a server of its own for some minutes. Exit code 1 if it was not clean."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from .ledger import Ledger
from .run import run
from .scene import Scene


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long, at least (10)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of all that is drawn (the time)")
    parser.add_argument("--home", type=Path, help="an empty folder for the server and its logs, which is kept")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        scene = Scene(given.home or Path(folder), Ledger())
        verdict = asyncio.run(run(scene, given.minutes * 60.0, given.seed))
    print(verdict)
    sys.exit(0 if verdict.clean else 1)


if __name__ == "__main__":
    main()
