"""`python -m tests.parity.triton VENV`: play the rows on the real Triton, of an environment that has nvidia-pytriton,
and write down what it answered.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from .play import play
from .recorded import ORACLE, ROWS
from .subject import Triton


def main() -> None:
    """Record all rows anew."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.triton", description=__doc__)
    parser.add_argument("venv", type=Path, help="an environment into which pip has installed nvidia-pytriton and numpy")
    venv = parser.parse_args().venv.resolve()
    with tempfile.TemporaryDirectory(prefix="triton-") as home, Triton(venv, Path(home)) as subject:
        lines = [json.dumps({"row": row.name, "asked": row.digest, "seen": play(row, subject.ports)}) for row in ROWS]
    ORACLE.write_text("\n".join([*lines, ""]))
    print(f"{len(lines)} rows")


if __name__ == "__main__":
    main()
