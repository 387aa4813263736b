"""The baseline: a workload's handler called in a loop, without a server. No server can be faster."""

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
_SECONDS = 2.0  # seconds of each of the two measurements, at least


class NoBaselineError(Exception):
    """An error for a handler that does not run by itself. The message is the end of its output."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """The speed of a handler in a loop: requests per second in full batches, and microseconds for a single request."""

    rate: float
    lone_us: float

    def __str__(self) -> str:
        return f"{self.rate:.0f} requests/s in full batches, {self.lone_us:.1f} us for a lone one"


def measure_baseline(workload: Workload, venv: Path) -> Baseline:
    """Measure the handler in a process of its own that runs in the environment `venv`. Raises NoBaselineError."""
    bodies = workload.ragged or workload.bodies(workload.batch)
    with tempfile.TemporaryDirectory(prefix="baseline-") as folder:
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
