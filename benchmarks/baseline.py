"""The floor: a workload's handler in a bare loop, without a server. No server can be faster than that."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .rival import handed
from .workload import Workload

_LOOP = Path(__file__).with_name("rivals") / "bare_loop.py"
_SECONDS = 2.0


class NoBaselineError(Exception):
    """The handler does not run by itself; the text says why."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """Requests a second in full batches, and microseconds for a lone one."""

    rate: float
    lone_us: float

    def __str__(self) -> str:
        return f"{self.rate:.0f} requests/s in full batches, {self.lone_us:.1f} us for a lone one"


def measure_baseline(workload: Workload, venv: Path) -> Baseline:
    """In a process of its own, with the packages of the environment `venv`. Raises NoBaselineError."""
    bodies = workload.ragged or workload.bodies(workload.batch)
    with tempfile.TemporaryDirectory(prefix="floor-") as folder:
        files = [Path(folder, f"{place}.body") for place in range(len(bodies))]
        for file, body in zip(files, bodies, strict=True):
            file.write_bytes(body)
        done = subprocess.run(
            [venv / "bin" / "python", _LOOP, str(_SECONDS), *files], capture_output=True, text=True, check=False,
            env={**os.environ, **handed(workload, venv, Path(folder))},
        )  # fmt: skip
    if done.returncode != 0:
        raise NoBaselineError(done.stderr.strip()[-500:])
    took = json.loads(done.stdout.splitlines()[-1])
    return Baseline(1 / took["full"], took["lone"] * 1e6)
