"""The program `torchserve`: a server has started the fork server's process before its command line is read, and a start
that fails leaves nothing of it.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_NAMED = ("-X", "org.pytorch.serve.ModelServer")
# Prints how many children there are when the command is run, which fails, and afterwards.
_SCRIPT = """
import sys, psutil
from torchserve.cli import program

def seen(said):
    print(said, len(psutil.Process().children()), file=sys.stderr)

class Command:
    def main(self):
        seen("inside")
        raise SystemExit(2)

sys.modules["torchserve.cli.main"] = Command()
try:
    program.run()
finally:
    seen("after")
"""


@pytest.mark.parametrize(("options", "children"), [(_NAMED, 1), ((), 0)])
def test_a_server_has_its_fork_server_ahead(tmp_path: Path, options: tuple[str, ...], children: int) -> None:
    done = subprocess.run(
        [sys.executable, *options, "-c", _SCRIPT, "--version"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == f"inside {children}\nafter 0\n"
