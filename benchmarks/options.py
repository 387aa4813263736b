"""The command line of benchmarks.peers. benchmarks.quick, .policies and .goodput are presets of it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import oracle
from .report import OURS, PEER
from .rival import KINDS
from .spike import LASTS, PEAK
from .workload import APPROXIMATE, ECHOES, LARGE, ROOT, SIZED

WORKLOADS = (*ECHOES, *SIZED, "digits", "imagenet", LARGE, APPROXIMATE, "sentences")


def arguments(description: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=description)
    parser.add_argument("--only", choices=(OURS, PEER), help="run one server only; there is no ratio then")
    parser.add_argument("--torchserve-venv", type=Path, help=f"holds TorchServe; default ${oracle.VARIABLE} or new")
    parser.add_argument("--our-venv", type=Path, default=Path(sys.prefix), help="holds our server; default: this one")
    parser.add_argument(
        "--rivals",
        nargs="*",
        choices=tuple(KINDS),
        default=[],
        help="other servers around the same handler",
    )
    parser.add_argument(
        "--handlers",
        choices=(OURS, PEER),
        default=OURS,
        help=f"whose handlers and libraries the rivals run (default: {OURS})",
    )
    parser.add_argument("--rates", nargs="*", type=float, default=[], help="requests/s to offer in an open loop, after")
    parser.add_argument(
        "--loads", nargs="*", type=float, default=[], help="the same, as shares of what each server did"
    )
    parser.add_argument("--spike", action="store_true", help=f"{LASTS} s at {PEAK:g} times what each server did, after")
    parser.add_argument(
        "--most-offered",
        type=float,
        default=5000,
        help="requests/s that the generator can, of --loads and --spike (default 5000)",
    )
    parser.add_argument("--bytes", action="store_true", help="count what a request moves through the kernel, by strace")
    parser.add_argument("--slo-ms", type=float, default=50, help="what counts as answered in time (default 50)")
    parser.add_argument("--workloads", nargs="+", choices=WORKLOADS, default=["echo", "digits"])
    parser.add_argument("--payloads", type=Path, help="a folder whose files are sent in turn, not the workload's own")
    parser.add_argument("--connections", nargs="+", type=int, default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs at each number of connections (default 5)")
    parser.add_argument("--seconds", type=float, default=10, help="of one run (default 10)")
    parser.add_argument("--warmup", type=float, default=5, help="seconds before the first round of each (default 5)")
    parser.add_argument("--digits-image", type=Path, help="default: the first image below examples/digits")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", help="folder for peers.json and peers.md")
    return parser
