"""Measures whether the front's memory grows with the requests that it serves.

It is read during minutes of full load, and again on a server with a planted leak, which has to be found. Run it as
`python -m benchmarks.endurance`; benchmarks/README.md says how it measures. Exit status: 0 if the front does not grow
and the planted leak is found, 1 if not, 2 if nothing could be measured.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from . import wrk
from .check import WrongAnswerError
from .front_door import Finding, say, serving
from .leaks import LeakMonitor
from .process import NotServingError
from .servers import ServerSetup
from .workload import Workload, echo

PER, MOST = 100_000, 2**20  # this many requests may make the front grow by this many bytes
READINGS = 20


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="at full load (default 10)")
    parser.add_argument("--planted-minutes", type=float, default=2, help="of the server with a leak (default 2)")
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args(argv)
    findings: list[Finding] = []
    try:
        with tempfile.TemporaryDirectory(prefix="endurance-") as name:
            folder, venv = Path(name), Path(sys.prefix)
            workload = echo(venv / "bin" / "torch-model-archiver", folder)
            (folder / "body").write_bytes(workload.body)
            lua = folder / "echo.lua"
            lua.write_text(wrk.script(folder / "body", workload.content_type))
            print("| what | figures | target | met |\n|---|---|---|---|")
            for of, setup, minutes, expected in [
                ("this server", ServerSetup(), options.minutes, []),
                ("one with a planted leak", ServerSetup(variant="leaky"), options.planted_minutes, ["memory"]),
            ]:
                monitor = loaded(workload, venv, setup, lua, options.connections, minutes * 60)
                findings.append(finding(f"{minutes:g} minutes of {of}", monitor, expected))
                print(findings[-1], flush=True)
    except (NotServingError, WrongAnswerError, wrk.UnreadableReportError, OSError) as fault:
        say(f"INVALID: {fault}")
        return 2
    return 0 if all(each.met for each in findings) else 1


def loaded(
    workload: Workload, venv: Path, setup: ServerSetup, lua: Path, connections: int, seconds: float
) -> LeakMonitor:
    """Run READINGS bursts of wrk after one that warms up, and read the front between them, when no
    connection is open.
    """
    with serving(workload, venv, setup) as server:
        monitor, served = LeakMonitor(server.front(), most_bytes=MOST / PER), 0
        for number in range(READINGS + 1):
            sample = wrk.drive(server.predictions, lua, connections, seconds / READINGS)
            if sample.fault:
                raise WrongAnswerError(f"burst {number}: {sample.fault}")
            served += round(sample.requests) if number else 0
            monitor.read(served)
            say(f"{served:,} requests, {sample.rate:.0f}/s: {monitor.memory[-1] / 2**20:.1f} MiB")
        return monitor


def finding(what: str, monitor: LeakMonitor, expected: Sequence[str]) -> Finding:
    """Return the finding, whose target is met if exactly what is `expected` has grown."""
    grows = monitor.bytes_each * PER / 2**20
    last = f"{monitor.memory[-1] / 2**20:.0f} MiB in the end"
    text = f"{monitor.counts[-1]:,} requests, {grows:+.3f} MiB each {PER:,}; {last}"
    target = f"the leak is found: ≥ {MOST / 2**20:g} MiB" if expected else f"< {MOST / 2**20:g} MiB"
    return Finding(what, text, target, monitor.leaks == list(expected))


if __name__ == "__main__":
    sys.exit(main())
