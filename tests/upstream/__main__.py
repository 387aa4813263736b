"""`python -m tests.upstream CHECKOUT`: TorchServe's own suites against this server; exits 1 on a step back."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from . import checkout, postman, pytest_files, table
from .departures import DEPARTURES
from .table import Outcome


def outcomes(upstream: Path, home: Path, newman: str, only: list[str]) -> Iterator[Outcome]:
    """Run what `only` names, patterns of suites, or everything."""

    def wanted(suite: str) -> bool:
        return not only or any(fnmatch(suite, pattern) for pattern in only)

    for collection in postman.COLLECTIONS:
        if wanted(f"postman {collection.name}"):
            yield from postman.run(collection, upstream, newman)
    files = [name for name in pytest_files.names(upstream) if wanted(f"pytest {name}")]
    if files and not (home / "test").exists():
        checkout.prepare(upstream, home)
    for name in files:
        yield from pytest_files.run(home, upstream, name)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.upstream", description=__doc__)
    parser.add_argument("checkout", type=Path, help="a checkout of TorchServe's repository, which is only read")
    parser.add_argument(
        "--only", action="append", default=[], help="a suite, or a pattern of suites, as in 'pytest test_m*'"
    )
    parser.add_argument(
        "--home", type=Path, help="where to work, and to go on from before; default: a new temporary folder"
    )
    parser.add_argument("--newman", help="the program; default: that of build/upstream, or of PATH")
    options = parser.parse_args(arguments)
    upstream = options.checkout.resolve()
    if not (upstream / "test/pytest").is_dir() and not (upstream / "test/postman").is_dir():
        print(
            f"{upstream} is no checkout of TorchServe's repository: it has no test/pytest and no test/postman",
            file=sys.stderr,
        )
        return 2
    home = (options.home or Path(tempfile.mkdtemp(prefix="upstream-"))).resolve()
    home.mkdir(parents=True, exist_ok=True)
    found: list[Outcome] = []
    for outcome in outcomes(upstream, home, postman.find_newman(options.newman), options.only):
        found.append(outcome)
        print(f"{table.verdict(outcome, DEPARTURES)}: {outcome.name}", file=sys.stderr, flush=True)
    text, back = table.text(found, DEPARTURES)
    print(text)
    print(f"\nwhat each file printed: {home}/NAME.txt")
    return 1 if back or not found else 0


if __name__ == "__main__":
    sys.exit(main())
