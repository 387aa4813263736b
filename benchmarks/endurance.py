"""Does the front grow with what it serves? Minutes at full load, its memory read on the way; and again with a leak.

Run it as `python -m benchmarks.endurance`; benchmarks/README.md says how it measures. Exit status as of
benchmarks.front_door: 0 the front doesn't grow and the planted leak is found, 1 not so, 2 nothing could be measured.
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
from .leaks import Watch
from .process import NotServingError
from .servers import Manner
from .workload import Workload, echo

PER, MOST = 100_000, 2**20  # so many requests may make the front grow by so many bytes
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
            for of, manner, minutes, expected in [
                ("this server", Manner(), options.minutes, []),
                ("one with a planted leak", Manner(variant="leaky"), options.planted_minutes, ["memory"]),
            ]:
                watch = loaded(workload, venv, manner, lua, options.connections, minutes * 60)
                findings.append(finding(f"{minutes:g} minutes of {of}", watch, expected))
                print(findings[-1], flush=True)
    except (NotServingError, WrongAnswerError, wrk.UnreadableReportError, OSError) as fault:
        say(f"INVALID: {fault}")
        return 2
    return 0 if all(each.met for each in findings) else 1


def loaded(workload: Workload, venv: Path, manner: Manner, lua: Path, connections: int, seconds: float) -> Watch:
    """READINGS bursts of wrk after one to warm up; the front is read between them, when no connection is open."""
    with serving(workload, venv, manner) as server:
        watch, served = Watch(server.front(), most_bytes=MOST / PER), 0
        for number in range(READINGS + 1):
            sample = wrk.drive(server.predictions, lua, connections, seconds / READINGS)
            if sample.fault:
                raise WrongAnswerError(f"burst {number}: {sample.fault}")
            served += round(sample.requests) if number else 0
            watch.read(served)
            say(f"{served:,} requests, {sample.rate:.0f}/s: {watch.memory[-1] / 2**20:.1f} MiB")
        return watch


def finding(what: str, watch: Watch, expected: Sequence[str]) -> Finding:
    """Whether what grows is what is `expected` to."""
    grows = watch.bytes_each * PER / 2**20
    text = (
        f"{watch.counts[-1]:,} requests, {grows:+.3f} MiB each {PER:,}; {watch.memory[-1] / 2**20:.0f} MiB in the end"
    )
    target = f"the leak is found: ≥ {MOST / 2**20:g} MiB" if expected else f"< {MOST / 2**20:g} MiB"
    return Finding(what, text, target, watch.leaks == list(expected))


if __name__ == "__main__":
    sys.exit(main())
